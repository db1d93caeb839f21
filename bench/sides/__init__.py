"""The sides: each a program that makes pictures as told on its standard input, a JSON line at a time.

A side loads the library that it stands for and no other; it must never measure itself.
"""
