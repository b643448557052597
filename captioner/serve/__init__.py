"""`captioner serve`: captions over HTTP, through the APIs that photo managers call.

    guard          Host and Origin of requests
    listening      the socket
    fetching       photos of the web, and of no private network
    batching       requests that arrive together share one search; the model in memory while used
    asking         one request: its body, the photo in it, its caption
    own, openai, ollama, photoprism    one API each: what it asks and answers, how it shows errors
    app            paths, the token, errors, all of the above as an ASGI application

A request takes a slot before its body is read, so memory is bounded by slots times body size.
"""
