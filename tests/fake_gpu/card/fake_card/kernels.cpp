// What computes: the processor's kernels, on the memory of the cards.
#include "device.h"

#include <ATen/NativeFunctions.h>

namespace {

// The same memory as a tensor of the processor.
Tensor on_host(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda()) return tensor;
  auto* start = static_cast<char*>(const_cast<void*>(tensor.storage().data()));
  return at::for_blob(start ? start + tensor.storage_offset() * tensor.itemsize() : nullptr, tensor.sizes())
      .strides(tensor.strides())
      .options(TensorOptions(tensor.scalar_type()).device(kCPU))
      .resizeable_storage()
      .allocator(c10::GetCPUAllocator())
      .make_tensor();
}

// One call of an operator that has no kernel of its own for cards: its arguments on the host, its results on the card.
struct Call {
  const c10::OperatorHandle& op;
  torch::jit::Stack& stack;
  const std::string& name = op.operator_name().name;
  std::vector<Tensor> given, lent, written;  // the card's tensors, the same on the host, and those that are written
  std::optional<Device> card;
  bool mixed = false;  // it got a tensor of the host
  // GPUs sum convolutions in float32 whatever the precision; the processor is slow in half precision.
  bool in_float = name.rfind("aten::convolution", 0) == 0;
  std::optional<ScalarType> low;  // what the results are rounded to then

  Tensor lend(const Tensor& tensor, bool write) {
    if (!tensor.defined()) return tensor;
    if (!tensor.is_cuda()) {
      mixed = mixed || tensor.dim() > 0;  // a number may come from anywhere
      return tensor;
    }
    require_device(tensor.device());
    given.push_back(tensor);
    if (write) written.push_back(tensor);
    if (in_float && isReducedFloatingType(tensor.scalar_type())) {
      low = tensor.scalar_type();
      return lent.emplace_back(on_host(tensor).to(kFloat));
    }
    return lent.emplace_back(on_host(tensor));
  }
  void require_device(Device device) {
    card = card.value_or(device);
    TORCH_CHECK(*card == device, "Expected all tensors to be on the same device, but found at least two devices, ", *card, " and ", device, "! (", name, ")");
  }
  Generator generator(const IValue& value) {
    auto given = value.isNone() ? default_generators[card ? card->index() : current] : value.toGenerator();
    TORCH_CHECK(given.device().is_cuda(), "Expected a 'cuda' device type for generator but found '", given.device(), "'");
    return static_cast<CardGenerator*>(given.unsafeGetGeneratorImpl())->inner;
  }
  void lend_arguments() {
    const auto& arguments = op.schema().arguments();
    for (size_t i = 0; i < arguments.size(); i++) {
      auto& value = stack[stack.size() - arguments.size() + i];
      bool write = arguments[i].alias_info() && arguments[i].alias_info()->isWrite();
      if (value.isTensor()) {
        value = lend(value.toTensor(), write);
      } else if (value.isTensorList()) {
        c10::List<Tensor> all;
        for (auto& each : value.toTensorVector()) all.push_back(lend(each, write));
        value = all;
      } else if (value.isOptionalTensorList()) {
        c10::List<std::optional<Tensor>> all;
        for (auto& each : value.toOptionalTensorVector()) all.push_back(each ? std::optional(lend(*each, write)) : each);
        value = all;
      } else if (value.isDevice()) {
        card = value.toDevice();
        value = Device(kCPU);
      } else if (value.isGenerator() || (value.isNone() && arguments[i].type()->str().find("Generator") != std::string::npos)) {
        value = generator(value);
      }
    }
    // Indexing takes indices of the host too.
    bool indexes = name.rfind("aten::index", 0) == 0 || name.rfind("aten::_index", 0) == 0;
    TORCH_CHECK(!mixed || !card || indexes, "Expected all tensors to be on the same device, but found at least two devices, ", *card, " and cpu! (", name, ")");
  }
  // An `out=` that was too small has other memory now.
  void take_back() {
    for (size_t i = 0; i < given.size(); i++) {
      auto& ours = given[i];
      auto& theirs = lent[i];
      if (ours.sizes() == theirs.sizes()) continue;
      ours.resize_(theirs.sizes());
      on_host(ours).copy_(theirs);
    }
  }
  Tensor result(const Tensor& found) {
    if (!found.defined()) return found;
    for (size_t i = 0; i < lent.size(); i++) {
      if (found.is_same(lent[i])) return given[i];
      TORCH_CHECK(!found.is_alias_of(lent[i]), "the card made of the processor cannot return the view that ", name, " makes");
    }
    auto options = found.options().device(*card).dtype(low.value_or(found.scalar_type()));
    bool dense = found.is_non_overlapping_and_dense();
    auto ours = dense ? at::empty_strided(found.sizes(), found.strides(), options) : at::empty(found.sizes(), options);
    on_host(ours).copy_(found);
    return written.emplace_back(ours);
  }
  void take_results() {
    const auto count = op.schema().returns().size();
    for (size_t i = 0; i < count; i++) {
      auto& value = stack[stack.size() - count + i];
      if (value.isTensor()) {
        value = result(value.toTensor());
      } else if (value.isTensorList()) {
        c10::List<Tensor> all;
        for (auto& each : value.toTensorVector()) all.push_back(result(each));
        value = all;
      } else {
        host_waits_for(streams[current]);  // a number is known only when it is there
      }
    }
  }
};

void on_processor(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call{op, *stack};
  call.lend_arguments();
  auto card = call.card = Device(kCUDA, index_of(call.card.value_or(kCUDA)));
  c10::DeviceGuard guard(*card);
  launch(current, call.name, call.given, call.written);
  op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
  call.take_back();
  call.take_results();
  mark_written(current, call.written);
}

Tensor& copy_(Tensor& self, const Tensor& source, bool non_blocking) {
  const auto& there = self.is_cuda() ? self : source;
  c10::DeviceGuard guard(there.device());
  if (self.is_cuda() && source.is_cuda() && self.device() != source.device()) exchange_clocks(self.get_device(), source.get_device());
  launch(current, "aten::copy_", {source}, {self});
  on_host(self).copy_(on_host(source));
  const auto& here = self.is_cuda() ? source : self;
  if (here.is_cpu() && !(non_blocking && here.is_pinned())) host_waits_for(streams[current]);
  return self;
}

Tensor empty_on_card(IntArrayRef size, std::optional<ScalarType> dtype, std::optional<Layout>, std::optional<Device> device, std::optional<bool>,
             std::optional<MemoryFormat> format) {
  c10::DeviceGuard guard(device.value_or(Device(kCUDA, current)));
  return at::detail::empty_generic(size, &allocator, DispatchKeySet(DispatchKey::CUDA), dtype_or_default(dtype), format);
}
Tensor strided_on_card(IntArrayRef size, IntArrayRef stride, std::optional<ScalarType> dtype, std::optional<Layout>, std::optional<Device> device,
                     std::optional<bool>) {
  c10::DeviceGuard guard(device.value_or(Device(kCUDA, current)));
  return at::detail::empty_strided_generic(size, stride, &allocator, DispatchKeySet(DispatchKey::CUDA), dtype_or_default(dtype));
}
Tensor strided_view(const Tensor& self, IntArrayRef size, IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}
void record_stream(Tensor& self, Stream stream) { allocator.recordStream(self.storage().data_ptr(), stream); }

// Recurrent layers have one kernel on the processor; PyTorch would take them apart where there is no cuDNN.
Tensor moved(const Tensor& tensor, Device device) { return tensor.to(tensor.options().device(device), /*non_blocking=*/true); }
std::vector<Tensor> moved(TensorList tensors, Device device) {
  std::vector<Tensor> there;
  for (auto& each : tensors) there.push_back(moved(each, device));
  return there;
}
template <auto layer>
auto recurrent(const Tensor& x, const Tensor& state, TensorList weights, bool biases, int64_t layers, double dropout, bool train, bool both, bool batch_first) {
  auto [ys, last] = layer(moved(x, kCPU), moved(state, kCPU), moved(weights, kCPU), biases, layers, dropout, train, both, batch_first);
  return std::make_tuple(moved(ys, x.device()), moved(last, x.device()));
}
auto lstm_layer(const Tensor& x, TensorList state, TensorList weights, bool biases, int64_t layers, double dropout, bool train, bool both, bool batch_first) {
  auto [ys, h, c] = at::lstm(moved(x, kCPU), moved(state, kCPU), moved(weights, kCPU), biases, layers, dropout, train, both, batch_first);
  return std::make_tuple(moved(ys, x.device()), moved(h, x.device()), moved(c, x.device()));
}
int64_t plain_attention(const Tensor&, const Tensor&, const Tensor&, const std::optional<Tensor>&, double, bool, std::optional<double>, bool) { return 0; }

}  // namespace

TORCH_LIBRARY_IMPL(_, CUDA, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&on_processor>()); }
TORCH_LIBRARY_IMPL(aten, CUDA, m) {
  m.impl("empty.memory_format", &empty_on_card);
  m.impl("empty_strided", &strided_on_card);
  m.impl("copy_", &copy_);
  m.impl("record_stream", &record_stream);
  m.impl("as_strided", &strided_view);
  m.impl("view", &at::native::view);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("resize_", &at::native::resize_);
  m.impl("set_.source_Storage", &at::native::set_);
  m.impl("set_.source_Storage_storage_offset", &at::native::set_storage_cpu_);
  m.impl("set_.source_Tensor", &at::native::set_tensor_);
  m.impl("_fused_sdp_choice", &plain_attention);
  // These have kernels for all devices, which choose a library by the device, or take lists apart; GPUs have their own.
  for (auto* name : {"convolution", "convolution_backward", "_foreach_copy_", "_foreach_div.Tensor", "_foreach_mul.Tensor", "_foreach_norm.Scalar"}) m.impl(name, torch::CppFunction::makeFromBoxedFunction<&on_processor>());
}
// Above autograd, which differentiates the processor's kernel.
TORCH_LIBRARY_IMPL(aten, AutogradCUDA, m) {
  using Layer = std::tuple<Tensor, Tensor> (*)(const Tensor&, const Tensor&, TensorList, bool, int64_t, double, bool, bool, bool);
  m.impl("lstm.input", &lstm_layer);
  m.impl("gru.input", &recurrent<static_cast<Layer>(&at::gru)>);
  m.impl("rnn_tanh.input", &recurrent<static_cast<Layer>(&at::rnn_tanh)>);
  m.impl("rnn_relu.input", &recurrent<static_cast<Layer>(&at::rnn_relu)>);
}
