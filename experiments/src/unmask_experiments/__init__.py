"""One paper per folder: configurations, runs, published numbers, artefacts and claims; and the zoo.

| file           | what                                                                               |
|----------------|------------------------------------------------------------------------------------|
| artefact.py    | quantities with intervals over seeds, claims with verdicts, what an artefact is    |
| follow.py      | training that is measured on the way and goes on after a kill; kept weights        |
| perceptrons.py | the network of the two papers on perceptrons, its objectives, data and cost        |
| moments.py     | what is measured of a network at one moment of its training                        |
| examine.py     | slow looks at kept networks: dead units, where PGD stops, a query attack           |
| setting.py     | what a run of the two papers on perceptrons is made of                             |
| readings.py    | from the records of runs to the papers' quantities                                 |
| drawing.py     | an artefact's figure                                                               |
| reproduce.py   | run what is missing, compute and write the artefacts                               |
| summary.py     | results/README.md                                                                  |
| demo.py        | what `unmask demo` shows                                                           |
| zoo/           | models whose truth is known, audited: is the audit right?                          |
| yanagita2018/  | Gradient Masking Is a Type of Overfitting                                          |
| yue2017/       | Resisting Adversarial Perturbations Against Neural Networks                        |
| vivek2019/     | Regularizer to Mitigate Gradient Masking During Single-Step Adversarial Training   |
"""

PAPERS = ("yanagita2018", "yue2017", "vivek2019")
"""The papers that can be reproduced, by the names of their modules; kept here, where nothing heavy is loaded."""
