"""Kinds of data that cannot be split between a device and a server, each with the reason.

They are listed so that a user who has such data does not look for it twice.
"""

from cutlayer.registry import Missing

GRAPH_FILES = (".gexf", ".gml", ".graphml", ".edgelist", ".cites")
"""How the names of files of graphs end."""


class Graphs(Missing):
    """Nodes of a graph: users of a network, papers that cite each other."""

    explanation = (
        "Graphs are not supported: each layer of a graph network mixes a node with its neighbours (message passing), "
        "so that the first layers cannot stay on a device that holds its own node alone; without the neighbours' data "
        "there is no head. Use images, rows of a table or sentences."
    )
