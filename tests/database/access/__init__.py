"""The access matrix: every table and every SQL function as every caller.

callers.py says who calls, rows.py what there is to see, tables.py and functions_*.py what each of them may do with it.
A table or function that is not declared fails the tests, as does a declaration of one that is gone.

A new table: labelled rows of both workspaces in ROWS, and a `Table`, whose entries start from ENTERED or OPERATORS.
A new function: a `Function` with its signature, the roles that may execute it, and a `Call` per case: one that succeeds
for the right caller, and, where it takes an id, one with an id of the other workspace (`foreign=True`). A definer
function also needs its line in docs/database.md.
A new caller: a `Caller`, and its place in the groups it belongs to; the tests then name every cell that it changes.
"""
