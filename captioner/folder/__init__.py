"""`captioner folder`: every photo of a folder into captions, so that no work is ever lost.

    sources/     folders, lists and tar archives -> Photo, in a stable order; one machine's share
    plan         which of them are captioned now
    engines/     Photo -> Caption: threads decode while the model runs, or actors on a Ray cluster
    sidecars/    Caption -> text files beside the photo and metadata inside it
    journal/     one line per photo; what is in it is done, whatever happens
    upkeep       captions in the journal -> files that lack them or hold older ones
    revert       captions of the journal out of files
    outputs/     the journal -> CSV, Parquet, a gallery, a list of failures
    watching     photos that arrive while a run goes on
    estimate     a few photos -> hours and bytes
    limits       when a run ends before its time
    progress     what the user sees meanwhile
    stopping     what a signal may interrupt
    job          all of it together

The journal is the JSON lines file that the user asked for. A batch of photos is written in three
steps, each on disk before the next begins: what is going to be written (`pending`, only where
captions go to other files, too), these files, the lines of the journal. A run killed between any
two of them is completed by the next one from `pending`, without captioning these photos again.
"""
