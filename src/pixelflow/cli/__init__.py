"""``pixelflow …``, for people and their scripts. Each command imports what it needs when it runs, nothing before."""
