"""The access matrix: every table, view and function of the API as every caller.

callers.py has the callers, world.py the labelled rows, tables.py and functions.py one line per table and function with
what each caller gets. A table or function without a line fails the tests, as does a line of one that is gone.

A new table needs rows of both workspaces in world.py and a line in tables.py, a view only the line. A new function
needs a line in the section of its roles in functions.py, and one with a row of workspace two if it takes an id; a
private function needs none. A new caller goes into callers.py and its groups: the tests then name every cell that it
changes.
"""
