"""Packs downloaded captions and photos into tar shards in WebDataset's format.

known         the known data sets: files, sizes, checksums and splits
checks        verifies downloads, and says how to complete them
opening       opens every photo and lists all faults
shrink        the file of a photo in a shard, resized if asked for
shard_plan    assignment of photos to shards
write_shards  writes shards, resuming after a kill
"""
