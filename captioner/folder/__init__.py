"""`captioner folder`: every photo of a folder into captions, so that no work is ever lost.

    inputs, archives     a folder, a list or tar archives -> Photo, in a stable order
    shards               which of them are this machine's
    plan                 which of them are to be captioned now
    engine               Photo -> Caption, decoded by threads while the model works on a batch
    ray_engine           the same on a cluster: actors that hold an engine each
    cluster, suspects    which cluster; which photo ended the process that had it in hand
    wording, targets     Caption -> the text written, and the files beside the photo it goes to
    journal, held        one line a photo; what is in it is done, whatever happens
    stamps, names        whether a photo is still the one captioned; whose text file it is
    pending              the batch that is being written
    joining              the journals of many machines into one
    tables, album        CSV, Parquet and an HTML gallery, made from the journal
    edits                captions that somebody changed in a table
    upkeep               captions of the journal into files that lack them or hold older ones
    report               what failed
    results              all that is made from it at the end
    progress             what the user is told meanwhile
    stopping             what a signal may interrupt
    job                  all of it together

The journal is the JSON lines file that the user asked for. A batch of photos is written in three
steps, each on disk before the next begins: what is going to be written (`pending`, only where
captions go to other files, too), these files, the lines of the journal. A run killed between any
two of them is completed by the next one from `pending`, without captioning these photos again.
"""
