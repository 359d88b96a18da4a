"""Numerics: random numbers that belong to an example, passes that leave a model as it was, work in batches.

| file              | content                                                               |
|-------------------|-----------------------------------------------------------------------|
| random_numbers.py | numbers that are a function of a seed and of an image's own content   |
| state.py          | passes that leave a model and the global random state as they were    |
| batches.py        | `Batches`: a function applied batch by batch, also when memory is low |
| threads.py        | the number of threads for the network at hand                         |
| words.py          | values in words                                                       |
"""

from unmask.numerics.batches import Batches, out_of_memory
from unmask.numerics.random_numbers import (
    derive_seed,
    drawn,
    random_below,
    random_keys,
    random_signs,
    random_uniform,
    random_words,
    seed_all,
)
from unmask.numerics.state import Model, evaluating, fastest_layout, laid_out, random_state_kept, undisturbed
from unmask.numerics.threads import threads_for
from unmask.numerics.words import describe

__all__ = [
    "Batches",
    "Model",
    "derive_seed",
    "describe",
    "drawn",
    "evaluating",
    "fastest_layout",
    "laid_out",
    "out_of_memory",
    "random_below",
    "random_keys",
    "random_signs",
    "random_state_kept",
    "random_uniform",
    "random_words",
    "seed_all",
    "threads_for",
    "undisturbed",
]
