"""Random changes of training images, a whole batch at a time."""


def crop_and_flip(images, seed, padding=4):
    """Shifts each image by up to `padding` pixels and mirrors half of them.

    Images are standardised, so that the zeros around them are the mean colour.
    All follows from `seed`, two integers. Reference: He et al. 2016, section
    4.2, https://arxiv.org/abs/1512.03385.
    """
    import tensorflow as tf

    height, width, channels = images.shape[1:]
    batch = tf.shape(images)[0]
    # Philox gives the same numbers on every device.
    drawn = tf.random.stateless_uniform(
        (3, batch, 1), seed, 0, 2 * (2 * padding + 1), "int32", alg="philox"
    )
    down, right, flip = drawn[0] // 2, drawn[1] // 2, drawn[2] % 2
    columns = tf.range(width)
    columns = right + tf.where(flip == 1, width - 1 - columns, columns)
    rows = down + tf.range(height)
    sides = (padding, padding)
    padded = tf.pad(images, ((0, 0), sides, sides, (0, 0)))
    # One gather of pixels takes less time than one of rows, then columns.
    rows += tf.range(batch)[:, None] * (height + 2 * padding)
    pixels = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    return tf.gather(tf.reshape(padded, (-1, channels)), pixels)


AUGMENTATIONS = {"none": None, "crop-flip": crop_and_flip}
