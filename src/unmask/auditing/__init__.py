"""The audit: checks before anything is attacked, attacks and probes, the search for the robust accuracy, the verdict.

=================  ==================================================================================================
effort.py          how many steps, draws and queries an audit spends
clock.py           the time budget, the work done so far, progress
worst.py           the worst image found of each example
preflight.py       checks on the model and its images before anything is attacked
trial.py           attacks in turn on the same examples, on the model or on a proxy
cache.py           outcomes kept on disk
evaluator.py       runs each attack once, in batches, within the budget: the only state of an audit
trials.py          the attacks that probes share
proxies.py         models to attack in place of the audited one
repair.py          a remedy against its control
context.py         what every probe may ask for, computed before the first probe is asked
probes/            one symptom per file, with its remedy; ``PROBES`` lists them
search.py          the search for the robust accuracy
curves.py          accuracy over epsilon
verdict.py         from findings to a verdict: the rule
report_data.py     histogram, examples, loss surfaces and environment for the report
runner.py          ``audit``: all of it in order
=================  ==================================================================================================
"""

from unmask.auditing.context import Context, prepare
from unmask.auditing.effort import FULL, QUICK, Effort
from unmask.auditing.probes import PROBES, Probe
from unmask.auditing.runner import audit

__all__ = ["FULL", "PROBES", "QUICK", "Context", "Effort", "Probe", "audit", "prepare"]
