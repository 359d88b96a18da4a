"""One paper per folder: configurations, runs, published numbers, artefacts and claims.

| file           | what                                                                               |
|----------------|------------------------------------------------------------------------------------|
| artefact.py    | quantities with intervals over seeds, claims with verdicts, what an artefact is    |
| perceptrons.py | the network and the training of both MNIST papers' runs, which go on after a kill  |
| moments.py     | what is measured of a network at one moment of its training                        |
| examine.py     | slow looks at kept networks: dead units, where PGD stops, a query attack           |
| setting.py     | what a run of both papers is made of                                               |
| readings.py    | from the records of runs to the papers' quantities                                 |
| drawing.py     | an artefact's figure                                                               |
| reproduce.py   | run what is missing, compute and write the artefacts                               |
| summary.py     | results/README.md                                                                  |
| demo.py        | what `unmask demo` shows                                                           |
| yanagita2018/  | Gradient Masking Is a Type of Overfitting                                          |
| yue2017/       | Resisting Adversarial Perturbations Against Neural Networks                        |
"""
