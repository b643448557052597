"""Bulk captioning: `captioner folder` captions every photo of a folder and loses no work.

    sources/     folders, lists and tar archives -> Photo, in a stable order; sharding
    plan         which photos to caption now
    engines/     Photo -> Caption: decoder threads feed the model, or actors on a Ray cluster
    sidecars/    Caption -> text files beside the photo, metadata inside it
    journal/     the write-ahead log and one line per finished photo
    updating     brings sidecars up to date with the journal
    revert       removes the captions that a run wrote into files
    outputs/     journal -> CSV, Parquet, data sets, a gallery, a list of failures
    watching     picks up photos that arrive during a run
    estimate     extrapolates time and size from a few photos
    limits       stops a run early: too many failures, too many hours
    progress     progress bar, JSON events, summary
    stopping     graceful shutdown on signals
    job          ties everything together

The journal is the JSON lines file that the user asked for. Each batch is written in three steps,
and each is on disk before the next begins: the write-ahead log (`pending`, only where captions
also go into other files), those files, then the journal's lines. If a run is killed between two
steps, the next run replays `pending` and does not caption those photos again.
"""
