"""Imported last by a server of forks: what it has made is garbage in none of them.

Otherwise each service that starts in a fork would walk the modules of all, and copy their memory.
"""

import gc

gc.collect()
gc.freeze()
