"""Loads pretrained captioners in the format of transformers.

JSON files and weights, from the Hugging Face hub or `save_pretrained`, are converted to our
settings, vocabulary and tensors. transformers is not needed, and code in a repository is never run.

files         which files of the folder are read
families      model_type -> function that reads its config.json
blip, florence, git, vision_encoder_decoder
              one family each: config.json -> settings, and rules that rename its weights
family        what these return; layers: renaming rules that several share
configuration values of config.json, with transformers' defaults and checked bounds
keys          renaming rules: their name of a weight -> ours
vocabulary    tokenizer files -> `Tokenizer`
photos        preprocessor_config.json -> `PreprocessConfig`
weights       weight files -> tensors under our names (needs torch)
"""
