"""The zoo: models whose truth is known, audited, so that the audit itself can be judged.

| file         | what                                                                              |
|--------------|-----------------------------------------------------------------------------------|
| networks.py  | the networks: building and training; their weights are saved                      |
| proxies.py   | models that an adaptive attacker differentiates in place of a defence             |
| defences.py  | the defences, each with its proxy and with its truth, if that is exact            |
| cases.py     | the pairs of a model and the attack whose claim is audited                        |
| linear.py    | the closed form of a linear model's worst case                                    |
| worst_case.py | the worst case of a network without a defence                                    |
| truth.py     | the rule that decides if a pair is masked, with its measurements                  |
| audits.py    | the audit of a pair whose truth is recorded                                       |
| peers.py     | AutoAttack's flags and ART's gradient check on the same models                    |
| expected.py  | the causes that count as right, for people to edit; remarks on single pairs       |
| scores.py    | verdict and cause against the truth, with rates and intervals                     |
| stages.py    | all stages in order, resumable: networks, worst cases, truth, audits, peers, score |

The order is enforced: a truth is refused where an audit of the pair exists, an audit is refused where no truth exists,
and the record of an audit names the digest of the truth that it is compared with.
"""
