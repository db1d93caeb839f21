"""All SQL. One module per family of tables; stores never commit, use cases own transactions.

``attempts`` is synchronous, for the worker's threads; everything else is asynchronous, for the API and the controller.
Their statements do not overlap.
"""
