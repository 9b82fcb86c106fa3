"""iDLG: DLG with the label read from the gradient first.

B. Zhao, K. R. Mopuri, H. Bilen, "iDLG: Improved Deep Leakage from Gradients", https://arxiv.org/abs/2001.02610; code
https://github.com/PatrickZH/Improved-Deep-Leakage-from-Gradients at commit 975bce8. Settings: those of DLG; the label
is the class whose row of the last weights has the least sum, so that the update must be from one sample.

Differs from the paper: as DLG. Their code ends at a loss of 1e-6, this one where the search no longer gains.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.dlg import DLG


@dataclass(kw_only=True)
class IDLG(DLG):
    """Match the squared differences by L-BFGS, with the label that the last layer gives away."""

    plain_words = "reads the label from the gradient, then changes noise until it would have caused the same gradient"

    labels: str = "idlg"
