"""The vocabulary of the walk: which operations and modules share a rule, and what a node's operation is called."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

# Of these, what writes in place is named with a further «_»: see `plain`.
SUM = {
    "add", "iadd", "sub", "isub", "rsub", "subtract", "maximum", "minimum", "fmax", "fmin", "where", "addcmul",
    "addcdiv", "lerp", "logaddexp", "logaddexp2",
}  # fmt: skip
PRODUCT = {
    "mul", "imul", "div", "truediv", "itruediv", "multiply", "pow", "divide", "rdiv", "true_divide", "floor_divide",
    "floordiv", "remainder", "fmod", "atan2", "arctan2", "hypot", "copysign", "masked_fill", "float_power", "xlogy",
    "heaviside", "nextafter",
}  # fmt: skip
CONDITIONS = {
    "gt", "ge", "lt", "le", "eq", "ne", "greater", "greater_equal", "less", "less_equal", "not_equal", "isclose",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "and_", "or_", "xor",
    "invert", "isnan", "isinf", "isfinite",
}  # fmt: skip
ELEMENTWISE = {
    "relu", "relu6", "hardswish", "hardsigmoid", "sigmoid", "silu", "gelu", "tanh", "elu", "leaky_relu", "softplus",
    "mish", "selu", "celu", "hardtanh", "softsign", "logsigmoid", "log_sigmoid", "threshold", "_threshold", "rrelu",
    "hardshrink", "softshrink", "tanhshrink", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_dropout",
    "alpha_dropout", "feature_alpha_dropout", "stochastic_depth", "exp", "exp2", "expm1", "log", "log1p", "log2",
    "log10", "sqrt", "rsqrt", "abs", "absolute", "neg", "negative", "positive", "pos", "square", "reciprocal", "clamp",
    "clip", "clamp_min", "clamp_max", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh",
    "atanh", "arcsin", "arccos", "arctan", "arcsinh", "arccosh", "arctanh", "sinc", "deg2rad", "rad2deg", "erf", "erfc",
    "erfinv", "lgamma", "digamma", "i0", "logit", "sign", "sgn", "floor", "ceil", "round", "trunc", "fix", "frac",
    "nan_to_num", "contiguous", "clone", "detach", "float", "double", "half", "bfloat16", "to", "type_as", "as_tensor",
    "asarray", "cpu", "cuda", "requires_grad", "identity", "fill", "zero", "zeros_like", "ones_like", "full_like",
    "empty_like", "atleast_1d", "atleast_2d", "atleast_3d", "real", "conj", "conj_physical", "resolve_conj",
    "resolve_neg", "angle",
}  # fmt: skip
CLAMPED = {"clamp", "clip", "clamp_min", "clamp_max"}
MADE_LIKE = {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}  # of the type of a tensor, not its values
POOLING = {
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "lp_pool1d", "lp_pool2d", "lp_pool3d", "interpolate", "upsample", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices",
}  # fmt: skip
SHAPE = {
    "flatten", "view", "reshape", "permute", "transpose", "swapaxes", "movedim", "unsqueeze", "squeeze", "cat",
    "concat", "concatenate", "hstack", "dstack", "stack", "chunk", "split", "split_with_sizes", "tensor_split",
    "narrow", "getitem", "expand", "expand_as", "unbind", "reshape_as", "view_as", "unflatten", "swapdims",
    "moveaxis", "flip", "fliplr", "flipud", "roll", "rot90", "repeat", "tile", "broadcast_to", "ravel", "select",
    "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "unsqueeze_", "squeeze_", "transpose_", "swapaxes_",
    "swapdims_", "adjoint",
}  # fmt: skip
# Shape operations after which a fold is rehearsed: whether they can be narrowed depends on which channels stay.
REARRANGED = {
    "flip", "fliplr", "flipud", "roll", "rot90", "repeat", "tile", "broadcast_to", "channel_shuffle", "pixel_shuffle",
    "unflatten",
}  # fmt: skip
TRANSPOSED = {"T", "mT", "H", "mH"}  # attributes
UNPOOLING = {"max_unpool1d", "max_unpool2d", "max_unpool3d"}
# What takes sizes of tensors for those of pixels alone, so that a width among them does not matter.
SIZES_OF_PIXELS = {*UNPOOLING, "affine_grid"}
SIZES = {"size", "dim", "ndimension", "getattr", "numel", "is_floating_point", "stride"}
UNCHANGED = {  # of a parameter
    "contiguous", "clone", "detach", "float", "double", "half", "to", "type", "type_as", "as_tensor",
}  # fmt: skip
REDUCTIONS = {
    "mean", "sum", "amax", "amin", "logsumexp", "std", "var", "norm", "std_mean", "var_mean", "prod", "nanmean",
    "nansum", "median", "nanmedian", "mode", "kthvalue", "aminmax", "argmax", "argmin", "count_nonzero", "any", "all",
}  # fmt: skip
# Along an axis, of as many axes; where it is another than the channels', these stay apart.
ALONG = {
    "cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "sort", "argsort", "topk", "diff", "index_select",
    "repeat_interleave",
}  # fmt: skip
# The place of the axis among the arguments, where it is not the second.
PLACE_OF_AXIS = dict.fromkeys(("norm", "normalize", "topk", "kthvalue", "diff", "repeat_interleave"), 2)
LAST_AXIS = {"sort", "argsort", "topk", "diff", "kthvalue", "mode"}  # where none is named
MODULES_ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.ELU, nn.LeakyReLU,
    nn.Softplus, nn.Mish, nn.SELU, nn.CELU, nn.Hardtanh, nn.Softsign, nn.LogSigmoid, nn.Threshold, nn.Identity,
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.RReLU,
)  # fmt: skip
MODULES_SPATIAL = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.LPPool1d, nn.LPPool2d, nn.LPPool3d, nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d,
    nn.ConstantPad2d, nn.ConstantPad3d, nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d,
    nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d,
)  # fmt: skip


def torchs_name(module: nn.Module) -> str:
    """Return the name of the layer of torch.nn that a module is or derives from; it says how many axes it works on."""
    return next(base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.nn"))


def operation(node: fx.Node) -> str:
    """Return the name of a torch or operator function or method; a user's own function never counts as one."""
    return name_of(node.target) if node.op == "call_function" else str(node.target)


def plain(name: str) -> str:
    """Return the name of what an elementwise operation that writes in place computes: `relu` for `relu_`."""
    return name[:-1] if name.endswith("_") and name[:-1] in ELEMENTWISE | SUM | PRODUCT else name


def name_of(function: Any) -> str:
    """Return the name of a function of torch or operator; «function NAME» for any other."""
    origin = (getattr(function, "__module__", None) or "torch").split(".")[0]
    name = str(getattr(function, "__name__", function))
    return (
        name if origin in {"torch", "_operator", "operator", "math", "builtins", "torchvision"} else f"function {name}"
    )
