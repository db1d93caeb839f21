"""The contenders: programs that make pictures on request. Each line of standard input is a JSON request.

A contender loads only the library that it represents, and must never measure itself.
"""
