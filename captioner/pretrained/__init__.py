"""Pretrained captioners in the format of transformers, as models of this program.

JSON files and weights, from the Hugging Face hub or `save_pretrained`, become our settings,
vocabulary and tensors. transformers is not needed, and code in a repository is never run.

files         the folder: what in it is read
families      model_type -> the reader of its configuration
blip, florence, git, vision_encoder_decoder
              one family each: configuration -> settings, and rules for the names of weights
family        what they make of it; layers: names of weights that several share
configuration numbers out of JSON, with transformers' defaults and within bounds
keys          rules: name of a weight there -> name here
vocabulary    tokenizer files -> `Tokenizer`
photos        preprocessor_config.json -> `PreprocessConfig`
weights       files of weights -> tensors by our names (needs torch)
"""
