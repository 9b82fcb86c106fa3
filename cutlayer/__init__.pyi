from cutlayer.api import attack as attack
from cutlayer.api import connect as connect
from cutlayer.api import cuts as cuts
from cutlayer.api import load_data as load_data
from cutlayer.api import observe as observe
from cutlayer.api import open_split as open_split
from cutlayer.api import probe as probe
from cutlayer.api import run as run
from cutlayer.api import score as score
from cutlayer.api import serve as serve
from cutlayer.api import split as split
from cutlayer.api import train as train
from cutlayer.api import view as view

__version__: str
