// Calls libtorch's operators by name, through its dispatcher. dispatch.rs declares the same functions and is all that
// uses them. No exception leaves: a function that fails gives null or a code, and swa_error() says why.

#include <ATen/ScalarOps.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace {

// As in dispatch.rs. `at` is the position of an argument, `len` the length of what `p` points to.
enum Tag : uint32_t { NONE, TENSOR, INT, FLOAT, BOOL, STRING, INTS, FLOATS, BOOLS, TENSORS, DEVICE };
struct Value {
  uint32_t tag, at;
  int64_t len;
  union {
    int64_t i;
    double f;
    const void* p;
  };
};

// What a call runs under: the network's device, and what autocast there casts to (-1: off).
struct Mode {
  int32_t device, autocast;
};

// Tensors that no call may write to, by their memory, each with a number.
struct Guard {
  std::vector<std::pair<const void*, int64_t>> tensors;
};

struct Call {
  c10::OperatorHandle op;
  std::vector<c10::IValue> arguments;  // each run starts from these
  std::vector<size_t> written;         // positions of the tensors that it changes
  torch::jit::Stack stack;
};

enum Code : int { DONE, FAILED, GUARDED };

thread_local std::string error;

template <class F>
int attempt(F&& f) {
  try {
    return f();
  } catch (const c10::Error& e) {
    error = e.what_without_backtrace();
  } catch (const std::exception& e) {
    error = e.what();
  } catch (...) {
    error = "unknown exception";
  }
  return FAILED;
}

const void* memory(const at::Tensor& tensor) {
  return tensor.has_storage() ? tensor.storage().unsafeGetStorageImpl() : nullptr;
}

c10::Device device_of(const Value& value) {
  auto type = static_cast<c10::DeviceType>(value.i);
  return c10::Device(type, type == c10::kCPU ? -1 : static_cast<c10::DeviceIndex>(value.len));
}

const at::Tensor& tensor_of(const void* p) { return *static_cast<const at::Tensor*>(p); }

[[noreturn]] void unfit(const c10::Argument& argument) {
  TORCH_CHECK(false, "argument `", argument.name(), "` is of the wrong kind: ", argument.type()->str(), " is needed");
}

c10::IValue list(const Value& v, const c10::Argument& argument, const c10::TypePtr& element) {
  auto ints = static_cast<const int64_t*>(v.p);
  auto floats = static_cast<const double*>(v.p);
  auto bools = static_cast<const uint8_t*>(v.p);
  auto tensors = static_cast<const void* const*>(v.p);
  switch (element->kind()) {
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType: {
      c10::List<int64_t> result;
      if (v.tag == INTS) {
        for (int64_t i = 0; i < v.len; ++i) result.push_back(ints[i]);
      } else if (v.tag == INT) {  // one number for all dimensions
        for (int32_t i = 0; i < argument.N().value_or(1); ++i) result.push_back(v.i);
      } else {
        unfit(argument);
      }
      return result;
    }
    case c10::TypeKind::FloatType: {
      c10::List<double> result;
      if (v.tag != FLOATS && v.tag != INTS) unfit(argument);
      for (int64_t i = 0; i < v.len; ++i) result.push_back(v.tag == FLOATS ? floats[i] : static_cast<double>(ints[i]));
      return result;
    }
    case c10::TypeKind::BoolType: {
      c10::List<bool> result;
      if (v.tag != BOOLS) unfit(argument);
      for (int64_t i = 0; i < v.len; ++i) result.push_back(bools[i] != 0);
      return result;
    }
    case c10::TypeKind::NumberType: {
      c10::impl::GenericList result(c10::NumberType::get());
      if (v.tag != FLOATS && v.tag != INTS) unfit(argument);
      for (int64_t i = 0; i < v.len; ++i) result.push_back(v.tag == FLOATS ? c10::IValue(floats[i]) : c10::IValue(ints[i]));
      return result;
    }
    case c10::TypeKind::TensorType: {
      c10::List<at::Tensor> result;
      if (v.tag != TENSORS && !(v.tag == INTS && v.len == 0)) unfit(argument);
      for (int64_t i = 0; i < v.len; ++i) {
        if (!tensors[i]) unfit(argument);
        result.push_back(tensor_of(tensors[i]));
      }
      return result;
    }
    case c10::TypeKind::OptionalType: {  // Tensor?[], the only one
      c10::List<std::optional<at::Tensor>> result;
      if (v.tag != TENSORS && !(v.tag == INTS && v.len == 0)) unfit(argument);
      for (int64_t i = 0; i < v.len; ++i)
        result.push_back(tensors[i] ? std::optional<at::Tensor>(tensor_of(tensors[i])) : std::nullopt);
      return result;
    }
    default:
      unfit(argument);
  }
}

// As the operator's schema declares the argument, which is how Python converts it too.
c10::IValue convert(const Value& v, const c10::Argument& argument) {
  c10::TypePtr type = argument.type();
  bool optional = type->kind() == c10::TypeKind::OptionalType;
  if (optional) type = type->expectRef<c10::OptionalType>().getElementType();
  if (v.tag == NONE) {
    if (!optional) unfit(argument);
    return c10::IValue();
  }
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
      if (v.tag == TENSOR) return tensor_of(v.p);
      // A number that promotes as one: mul.Tensor(x, 0.25).
      if (v.tag == INT) return at::native::wrapped_scalar_tensor(v.i);
      if (v.tag == FLOAT) return at::native::wrapped_scalar_tensor(v.f);
      if (v.tag == BOOL) return at::native::wrapped_scalar_tensor(v.i != 0);
      break;
    case c10::TypeKind::NumberType:
      if (v.tag == INT) return v.i;
      if (v.tag == FLOAT) return v.f;
      if (v.tag == BOOL) return v.i != 0;
      break;
    case c10::TypeKind::FloatType:
      if (v.tag == FLOAT) return v.f;
      if (v.tag == INT || v.tag == BOOL) return static_cast<double>(v.i);
      break;
    case c10::TypeKind::BoolType:
      if (v.tag == INT || v.tag == BOOL) return v.i != 0;
      break;
    case c10::TypeKind::IntType:
    case c10::TypeKind::SymIntType:
    case c10::TypeKind::ScalarTypeType:
    case c10::TypeKind::LayoutType:
    case c10::TypeKind::MemoryFormatType:
      if (v.tag == INT || v.tag == BOOL) return v.i;
      break;
    case c10::TypeKind::StringType:
      if (v.tag == STRING) return std::string(static_cast<const char*>(v.p), v.len);
      break;
    case c10::TypeKind::DeviceObjType:
      if (v.tag == DEVICE) return device_of(v);
      break;
    case c10::TypeKind::ListType:
      return list(v, argument, type->expectRef<c10::ListType>().getElementType());
    default:
      break;
  }
  unfit(argument);
}

Value given(const c10::IValue& value) {
  Value v{NONE, 0, 0, {0}};
  if (value.isTensor()) {
    const auto& tensor = value.toTensor();
    if (!tensor.defined()) return v;
    TORCH_CHECK(!tensor.is_nested(), "a result is a nested tensor, which has no shape");
    v.tag = TENSOR;
    v.p = new at::Tensor(tensor);
  } else if (value.isInt()) {
    v.tag = INT;
    v.i = value.toInt();
  } else if (value.isDouble()) {
    v.tag = FLOAT;
    v.f = value.toDouble();
  } else if (value.isBool()) {
    v.tag = BOOL;
    v.i = value.toBool();
  } else if (!value.isNone()) {
    TORCH_CHECK(false, "a result is of a kind that no program has: ", value.tagKind());
  }
  return v;
}

// Autocast for the time of a call.
struct Autocast {
  c10::DeviceType device;
  bool on, enabled = false, cached = true;
  at::ScalarType dtype = at::kFloat;
  explicit Autocast(const Mode& mode) : device(static_cast<c10::DeviceType>(mode.device)), on(mode.autocast >= 0) {
    if (!on) return;
    enabled = at::autocast::is_autocast_enabled(device);
    cached = at::autocast::is_autocast_cache_enabled();
    dtype = at::autocast::get_autocast_dtype(device);
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_cache_enabled(false);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(mode.autocast));
  }
  ~Autocast() {
    if (!on) return;
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_cache_enabled(cached);
    at::autocast::set_autocast_dtype(device, dtype);
  }
};

int run(Call& call, const Value* inputs, size_t n, const Mode& mode, const Guard* guard, const int64_t* wanted,
        size_t n_wanted, Value* results, int64_t* touched) {
  auto& stack = call.stack;
  stack.assign(call.arguments.begin(), call.arguments.end());
  const auto& schema = call.op.schema();
  for (size_t i = 0; i < n; ++i) stack[inputs[i].at] = convert(inputs[i], schema.arguments()[inputs[i].at]);
  auto guarded = [&](const at::Tensor& written) {
    const void* own = memory(written);
    for (const auto& [other, number] : guard->tensors)
      if (own && own == other) {
        *touched = number;
        return true;
      }
    return false;
  };
  for (size_t at : call.written) {
    const auto& argument = stack[at];
    if (argument.isTensor() && guarded(argument.toTensor())) return GUARDED;
    if (argument.isTensorList())
      for (const auto& tensor : argument.toTensorVector())
        if (guarded(tensor)) return GUARDED;
  }
  {
    Autocast autocast(mode);
    call.op.callBoxed(stack);
  }
  TORCH_CHECK(stack.size() >= n_wanted, "it gave ", stack.size(), " results in place of ", n_wanted);
  size_t made = 0;
  try {
    for (size_t i = 0; i < n_wanted; ++i) {
      if (wanted[i] == -1) continue;  // not used
      if (wanted[i] == -2) {
        results[made] = given(stack[i]);
        ++made;
        continue;
      }
      TORCH_CHECK(stack[i].isTensorList(), "a result is no list of tensors");
      auto tensors = stack[i].toTensorVector();
      TORCH_CHECK(static_cast<int64_t>(tensors.size()) == wanted[i], "it gave ", tensors.size(),
                  " tensors in place of ", wanted[i]);
      for (auto& tensor : tensors) {
        results[made] = given(tensor);
        ++made;
      }
    }
  } catch (...) {
    for (size_t i = 0; i < made; ++i)
      if (results[i].tag == TENSOR) delete static_cast<const at::Tensor*>(results[i].p);
    throw;
  }
  return DONE;
}

}  // namespace

extern "C" {

const char* swa_error() { return error.c_str(); }

// The operator, or null. It lives as long as the process.
const void* swa_op_find(const char* name, const char* overload) {
  const void* found = nullptr;
  attempt([&] {
    auto op = c10::Dispatcher::singleton().findSchema({name, overload});
    if (op) found = new c10::OperatorHandle(*op);
    return DONE;
  });
  return found;
}

void swa_op_free(const void* op) { delete static_cast<const c10::OperatorHandle*>(op); }

// The name of an argument, or null after the last. `needed`: it has no default. `written`: it changes.
const char* swa_op_argument(const void* op, size_t at, int* needed, int* written) {
  const auto& arguments = static_cast<const c10::OperatorHandle*>(op)->schema().arguments();
  if (at >= arguments.size()) return nullptr;
  *needed = !arguments[at].default_value().has_value();
  *written = arguments[at].alias_info() && arguments[at].alias_info()->isWrite();
  return arguments[at].name().c_str();
}

// Whether a result is declared to be the memory of an argument.
int swa_op_views(const void* op) {
  const auto& results = static_cast<const c10::OperatorHandle*>(op)->schema().returns();
  return std::any_of(results.begin(), results.end(), [](const auto& result) { return result.alias_info() != nullptr; });
}

size_t swa_op_results(const void* op) {
  return static_cast<const c10::OperatorHandle*>(op)->schema().returns().size();
}

void* swa_call_new(const void* op) {
  Call* call = nullptr;
  attempt([&] {
    auto handle = *static_cast<const c10::OperatorHandle*>(op);
    call = new Call{handle, {}, {}, {}};
    const auto& arguments = handle.schema().arguments();
    for (size_t at = 0; at < arguments.size(); ++at) {
      const auto& argument = arguments[at];
      call->arguments.push_back(argument.default_value().value_or(c10::IValue()));
      if (argument.alias_info() && argument.alias_info()->isWrite()) call->written.push_back(at);
    }
    return DONE;
  });
  return call;
}

void swa_call_free(void* call) { delete static_cast<Call*>(call); }

// Gives an argument the value that it has in every run.
int swa_call_set(void* call, const Value* value) {
  return attempt([&] {
    auto& own = *static_cast<Call*>(call);
    own.arguments.at(value->at) = convert(*value, own.op.schema().arguments().at(value->at));
    return DONE;
  });
}

// `inputs`: the arguments that this run gives. `wanted`, by result: -1 not, -2 as it is, or a list of so many tensors;
// `results` has room for all of them. Tensors in it belong to the caller.
int swa_call_run(void* call, const Value* inputs, size_t n, const Mode* mode, const Guard* guard,
                 const int64_t* wanted, size_t n_wanted, Value* results, int64_t* touched) {
  auto& own = *static_cast<Call*>(call);
  int code = attempt([&] { return run(own, inputs, n, *mode, guard, wanted, n_wanted, results, touched); });
  own.stack.clear();
  return code;
}

Guard* swa_guard_new() { return new Guard; }
void swa_guard_free(Guard* guard) { delete guard; }
void swa_guard_add(Guard* guard, const void* tensor, int64_t number) {
  if (const void* own = memory(tensor_of(tensor))) guard->tensors.emplace_back(own, number);
}
Guard* swa_guard_copy(const Guard* guard) { return new Guard(*guard); }
}
