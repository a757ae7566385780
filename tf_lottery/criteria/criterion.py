"""The base class of criteria."""


class Criterion:
    """Scores weights: the higher, the more it is worth to keep one.

    A criterion only scores. Which weights are ranked together is the scope,
    what is kept together is the pattern.
    """

    name = None

    def __call__(self, model, variables):
        """Returns the scores of weights.

        Args:
            model: The `keras.Model` the weights belong to. It is left as it
                was.
            variables: Dict from weight key to `keras.Variable`.

        Returns:
            Dict from weight key to an array of the variable's shape.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement `__call__`."
        )

    def get_config(self):
        return {}
