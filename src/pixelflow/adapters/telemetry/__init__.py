"""What the service tells of itself to those who run it.

It must never be given a secret, nor the query string of a presigned URL.
"""
