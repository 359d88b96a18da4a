"""Reports: the results of an audit as text, rows of a table, figures and one self-contained HTML page.

| file                    | content                                                                               |
|-------------------------|---------------------------------------------------------------------------------------|
| values.py               | the parts of a record: findings, causes, the verdict, attacks, curves, examples       |
| record.py               | `AuditRecord`: everything that an audit measured, to JSON and back                    |
| report.py               | `Report`: a record with its text, page and file of adversarial examples; `write_page` |
| words.py                | the words of a report                                                                 |
| page.py, .html .css .js | the page                                                                              |
| plots.py axes.py svg.py | its figures                                                                           |
| images.py               | its examples as images                                                                |
| comparison.py           | `compare`: two audits of the same images, before and after a change of the model      |
| adversarial_examples.py | the worst image of each example, in a file that can be replayed                       |
| replay.py               | the replay of them in plain torch                                                     |

Records are read, compared and drawn without torch; matplotlib is loaded when a page is written.
"""

from unmask.reports.comparison import Change, cautions, compare
from unmask.reports.record import AuditRecord
from unmask.reports.report import Report, write_page
from unmask.reports.values import AttackResult, Cause, Curve, Example, Finding, Histogram, Surface, Verdict
from unmask.reports.words import SUMMARY_COLUMNS, answer, bound, listing, percent, quantity, summary_rows

__all__ = [
    "SUMMARY_COLUMNS",
    "AttackResult",
    "AuditRecord",
    "Cause",
    "Change",
    "Curve",
    "Example",
    "Finding",
    "Histogram",
    "Report",
    "Surface",
    "Verdict",
    "answer",
    "bound",
    "cautions",
    "compare",
    "listing",
    "percent",
    "quantity",
    "summary_rows",
    "write_page",
]
