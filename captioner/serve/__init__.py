"""`captioner serve`: captions over HTTP, through the APIs that photo managers use.

    guard          checks Host and Origin of requests
    listening      opens the socket
    fetching       downloads photos from public addresses only
    batching       batches concurrent requests; loads and unloads the model
    request        one request: body, photo, caption
    native, openai, ollama, photoprism    one API each: requests, responses, errors
    app            routes, token and errors, as an ASGI application

A request takes a slot before its body is read, so memory is bounded by slots times body size.
"""
