"""Published numbers and the ways of counting that give them.

import costcalc

costcalc.reconcile("resnet50", "4.11G").explanations
"""

from costcalc.published.reconcile.published_number import Quantity
from costcalc.published.reconcile.search import Explanation, Reconciliation, reconcile

__all__ = ["Explanation", "Quantity", "Reconciliation", "reconcile"]
