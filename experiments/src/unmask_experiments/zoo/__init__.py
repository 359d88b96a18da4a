"""The zoo: models whose truth is known, audited, so that the audit itself can be judged.

| file         | what                                                                              |
|--------------|-----------------------------------------------------------------------------------|
| networks.py  | a network of the zoo: how it is built and trained; its weights are kept           |
| stand_ins.py | what an adaptive attacker differentiates in place of a defence                    |
| defences.py  | what is done to a network, how it is attacked in spite of it, and what is exact   |
| cases.py     | the pairs of a model and the attack whose claim is audited                        |
| linear.py    | the closed form of a linear model's worst case                                    |
| floors.py    | the worst case of a network without a defence                                     |
| truth.py     | whether a pair is masked: the rule, and what it rests on                          |
| audits.py    | the audit of a pair whose truth has been written down                             |
| peers.py     | what AutoAttack's flags and ART's gradient check say of the same models           |
| expected.py  | the causes that count as right, for people to edit; remarks on single pairs       |
| scores.py    | verdict and cause against the truth, with rates and intervals                     |
| page.py      | the zoo's part of results/README.md, from `results/zoo.json`                      |
| stages.py    | all of it in order, resumable: train, floors, truth, audits, peers, score         |

The order is held, not hoped for: a truth is refused where an audit of the pair exists, and an audit where no truth
does, and the audit's record names the digest of the truth that it is compared with.
"""
