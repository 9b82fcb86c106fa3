"""EGIA: Inverting Gradients by an outsider on the link between client and server.

H. Liang, Y. Li, C. Zhang, X. Liu, L. Zhu, "EGIA: An External Gradient Inversion Attack in Federated Learning", IEEE
Transactions on Information Forensics and Security 18, 2023, p. 4984. A threat model, and no other loss: whoever reads
both directions of a link without encryption has the update and the model that it began from, which is all that this
attack takes of a view.

Differs from the paper: the abstract alone was at hand; settings are those of Inverting Gradients with labels by iDLG,
so that the update must be from one sample.
"""

from dataclasses import dataclass

from cutlayer.attacks.gradients.inverting_gradients import InvertingGradients


@dataclass(kw_only=True)
class EGIA(InvertingGradients):
    """Do as Inverting Gradients does, from what an outsider reads on the link."""

    plain_words = "listens on the link, and changes noise into a picture whose gradient points in the same direction"

    labels: str = "idlg"
