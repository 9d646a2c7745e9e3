"""The vocabulary of the walk: which operations and modules share a rule, and what a node's operation is called."""

from __future__ import annotations

from typing import Any

from torch import fx, nn

SUM = {
    "add", "add_", "iadd", "sub", "sub_", "isub", "rsub", "subtract", "maximum", "minimum", "fmax", "fmin", "where",
    "addcmul", "addcdiv", "lerp", "logaddexp",
}  # fmt: skip
PRODUCT = {
    "mul", "mul_", "imul", "div", "div_", "truediv", "itruediv", "multiply", "pow", "pow_", "divide", "rdiv",
    "true_divide", "floor_divide", "floordiv", "remainder", "fmod", "atan2", "hypot", "copysign", "masked_fill",
    "masked_fill_",
}  # fmt: skip
CONDITIONS = {
    "gt", "ge", "lt", "le", "eq", "ne", "greater", "greater_equal", "less", "less_equal", "not_equal", "isclose",
    "logical_and", "logical_or", "logical_xor", "logical_not", "bitwise_and", "bitwise_or", "and_", "or_", "xor",
    "invert", "isnan", "isinf", "isfinite",
}  # fmt: skip
ELEMENTWISE = {
    "relu", "relu_", "relu6", "hardswish", "hardsigmoid", "sigmoid", "sigmoid_", "silu", "gelu", "tanh", "tanh_", "elu",
    "leaky_relu", "softplus", "mish", "selu", "celu", "hardtanh", "hardtanh_", "softsign", "logsigmoid", "threshold",
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "alpha_dropout",
    "stochastic_depth", "exp", "log", "sqrt", "rsqrt", "abs", "neg", "square", "clamp", "clamp_", "clip", "clip_",
    "sin", "cos", "erf", "reciprocal", "log1p", "expm1", "contiguous", "clone", "detach", "float", "double", "half",
    "to", "type_as", "as_tensor",
    "identity", "relu6_", "silu_", "gelu_", "elu_", "selu_", "celu_", "leaky_relu_", "hardswish_", "mish_",
    "threshold_", "exp_", "neg_", "abs_", "sqrt_", "square_", "rrelu", "hardshrink", "softshrink", "tanhshrink", "sign",
    "sgn", "floor", "ceil", "round", "trunc", "frac", "exp2", "log2", "log10", "sinh", "cosh", "tan", "asin", "acos",
    "atan", "asinh", "acosh", "atanh", "erfc", "lgamma", "digamma", "clamp_min", "clamp_max", "clamp_min_",
    "clamp_max_", "logit", "nan_to_num", "bfloat16", "cpu", "cuda", "requires_grad_", "negative", "positive", "pos",
    "absolute", "zeros_like", "ones_like", "full_like", "empty_like",
}  # fmt: skip
CLAMPED = {"clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_"}
MADE_LIKE = {"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}  # of the type of a tensor, not its values
POOLING = {
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "lp_pool2d", "interpolate", "upsample", "lp_pool1d",
}  # fmt: skip
SHAPE = {
    "flatten", "view", "reshape", "permute", "transpose", "swapaxes", "movedim", "unsqueeze", "squeeze", "cat",
    "concat", "concatenate", "stack", "chunk", "split", "split_with_sizes", "tensor_split", "narrow", "getitem",
    "expand", "expand_as", "unbind", "reshape_as", "view_as", "unflatten", "swapdims", "moveaxis", "flip", "fliplr",
    "flipud", "roll", "rot90", "repeat", "tile", "broadcast_to", "ravel", "select", "channel_shuffle", "pixel_shuffle",
    "pixel_unshuffle", "unsqueeze_", "squeeze_", "transpose_", "swapaxes_", "swapdims_",
}  # fmt: skip
# Shape operations after which a fold is rehearsed: whether they can be narrowed depends on which channels stay.
REARRANGED = {
    "flip", "fliplr", "flipud", "roll", "rot90", "repeat", "tile", "broadcast_to", "channel_shuffle", "pixel_shuffle",
    "unflatten",
}  # fmt: skip
TRANSPOSED = {"T", "mT", "H", "mH"}  # attributes
SIZES = {"size", "dim", "ndimension", "getattr", "numel", "is_floating_point", "stride"}
UNCHANGED = {  # of a parameter
    "contiguous", "clone", "detach", "float", "double", "half", "to", "type", "type_as", "as_tensor",
}  # fmt: skip
REDUCTIONS = {
    "mean",
    "sum",
    "amax",
    "amin",
    "logsumexp",
    "std",
    "var",
    "norm",
    "std_mean",
    "var_mean",
    "prod",
    "nanmean",
    "nansum",
    "median",
    "argmax",
    "argmin",
    "count_nonzero",
    "any",
    "all",
}
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


def name_of(function: Any) -> str:
    """Return the name of a function of torch or operator; «function NAME» for any other."""
    origin = (getattr(function, "__module__", None) or "torch").split(".")[0]
    name = str(getattr(function, "__name__", function))
    return (
        name if origin in {"torch", "_operator", "operator", "math", "builtins", "torchvision"} else f"function {name}"
    )
