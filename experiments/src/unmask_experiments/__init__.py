"""The experiments behind `unmask`: three papers reproduced, and the zoo, on which the audit is measured.

A file imports only from smaller numbers; ``tests/test_own_layers.py`` holds them to it.

| file                 |   | content                                                                      |
|----------------------|---|------------------------------------------------------------------------------|
| sweeps/              | 0 | a function mapped over configurations, one record each: processes, or Ray    |
| shortcuts.py         | 0 | LeNet+ in an equivalent form that trains faster                              |
| printed_adam.py      | 0 | the printed Adam of Yanagita & Yamamura 2018                                 |
| evaluation.py        | 0 | correctness under attacks                                                    |
| artefact.py          | 1 | quantities with intervals over seeds, claims with verdicts, artefacts        |
| follow.py            | 1 | training that is measured on the way, and resumed; weights of other runs     |
| quantities.py        | 2 | quantities of the two papers on perceptrons, from records of runs            |
| perceptrons.py       | 2 | their network, its objectives, data and cost                                 |
| measurement.py       | 2 | the measurement of a network at one moment of its training                   |
| diagnostics.py       | 2 | slow diagnostics: dead units, ends of PGD, a query attack                    |
| perceptron_config.py | 3 | the configuration of their runs                                              |
| drawing.py           | 3 | figures of artefacts                                                         |
| zoo_page.py          | 3 | the zoo's section of results/README.md                                       |
| yanagita2018/        | 4 | Gradient Masking Is a Type of Overfitting                                    |
| yue2017/             | 4 | Resisting Adversarial Perturbations Against Neural Networks                  |
| vivek2019/           | 4 | Regularizer to Mitigate Gradient Masking During Single-Step Adversarial Training |
| summary.py           | 4 | results/README.md                                                            |
| reproduce.py         | 5 | missing runs done, artefacts computed and written                            |
| zoo/                 | 6 | models whose truth is known, audited                                         |
| cli/                 | 7 | the commands ``unmask reproduce`` and ``unmask zoo``                         |
"""

PAPERS = ("yanagita2018", "yue2017", "vivek2019")
"""The papers that can be reproduced, by the names of their modules."""
