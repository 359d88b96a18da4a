"""unmask tells whether a neural network's robustness is real or only gradient masking.

Importing it loads nothing heavy. A file imports only from lower numbers; ``tests/test_layers.py`` holds them to it.

====================  =  ==========================================================================================
record.py             0  Finding, Verdict, AuditRecord <-> JSON; files written whole or not at all; no dependencies
numerics.py           0  random numbers that belong to an example, models left as found, batches that fit in memory
losses.py             0  per-example cross_entropy, log_odds, margin, dlr
data/                 0  one data set per file: digits (embedded), mnist (also fashion), cifar10, the user's own
replay.py             0  what an audit says fooled a model, looked at again in plain torch
optim.py              0  optimizers by name, the printed Adam's readings, schedules
models/               1  mlp, lenet (LeNet+, A-D), resnet, vgg; masked/: models that mask on purpose
weights.py            1  weights in files, ours and other people's, without running anything they contain
threat.py             1  Linf(epsilon): project, random start, step; images in [0, 1]
gradients.py          1  the gradient of a loss in the images
distributed.py        1  one network trained by several processes: batches split, gradients averaged; the launcher
verdict.py            1  findings -> Verdict: the rule and its statistics, and nothing else
report/               1  text, figures, one self-contained HTML page; reads records only, never loads torch
sweeps/               1  map a function over configurations: local processes, or a Ray cluster; resumable
compare.py            2  two audits of the same images: what a change of the model won, example by example
checkpoint.py         2  the state of a training run, whole at any instant
subject.py            2  a model made ready for an audit, with a note on all that had to be said about it
attacks/              2  one family of attacks per file; trial: several of them, in batches
adapters/             2  other people's models and attacks made to fit; their libraries are loaded when used
objectives/           3  objective(model, images, labels, step=...) -> loss, one family of training methods per file
watch.py              3  readings of masking during training, the rule that calls it, the way back
evidence.py           3  the worst image found of each example, in a file that can be replayed
training/             4  one loop, a generator that yields after each epoch
exhibits.py           4  histogram, specimens, loss surfaces and environment for a report
probes/               4  one symptom of masking per file, with the remedy that would remove it; battery: all of them
course.py             5  the way an audit goes: attack, ask the battery, search for the worst case, draw the curves
audit.py              6  runs all of it on a model, asks for the verdict, returns the report
experiments/          7  the demo, one folder per paper, and the zoo: models whose truth is known, audited
cli/                  8  one command per file; heavy imports inside the commands
====================  =  ==========================================================================================
"""

__version__ = "0.1.0"
