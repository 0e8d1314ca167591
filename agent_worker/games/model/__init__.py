"""A vision-language model in the player's seat, behind any endpoint that speaks OpenAI's chat completions."""
