"""`captioner serve`: captions over HTTP, in the dialects that photo managers speak.

    guard          who may call, told by the names a request gives
    listening      the socket
    fetching       photos of the web, and of no private network
    batching       requests that come together, captioned together; the model, while it is used
    asking         one request: its body, the photo in it, its caption
    own, openai, ollama, photoprism    one API each: what it asks and answers, how it shows errors
    app            paths, the token, errors, all of the above as an ASGI application

A request takes a place before its body is read, so memory is bounded by places times body size.
"""
