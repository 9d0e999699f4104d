"""Settings: what config.json, the dotenv file and the environment say, checked and frozen.

Load with ``source.load``. Inside: fields and problems know nothing of xcore's keys; plugin_keys and settings are the
keys; json_text, regular_file and environment read; configuration is the result.
"""
