"""What the functions share: the domain (chat, sessions, contacts, …) and the edge (http, auth, database, …)."""

import gc

COLLECT_EVERY = 20_000
"""Objects that may hold others, more made than freed, until Python looks for cycles among the young: some megabytes.
Its own 700 are a few turns' under way, all of them alive, and looking at them took a tenth of a turn's CPU. It is set
before anything of ours is imported: looking through all that imports leave behind took a quarter of importing."""

gc.set_threshold(COLLECT_EVERY)
