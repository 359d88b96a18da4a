"""One paper per folder: configurations, runs, published numbers, artefacts and claims.

| file          | what                                                                                     |
|---------------|------------------------------------------------------------------------------------------|
| perceptrons.py| what the runs of both MNIST papers share: network, data, objective, training that resumes |
| moments.py    | what is measured of a network at one moment of its training                              |
| yanagita2018/ | Gradient Masking Is a Type of Overfitting                                                |
| yue2017/      | Resisting Adversarial Perturbations Against Neural Networks                              |
"""
