#pragma once
// GPUs made of the processor: the dispatch key CUDA for a PyTorch without CUDA. Tensors lie in the processor's memory and
// its kernels compute, so code for GPUs runs where there is none, and what a GPU would refuse or get wrong raises:
// tensors of two devices in one operation, more memory than a card has, a card whose context is lost, memory that is
// used on one stream before another is done with it. This file is the devices; kernels.cpp computes.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/csrc/distributed/c10d/reducer_timer.hpp>
#include <torch/library.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <set>

namespace {
using namespace at;
using c10::CachingAllocator::Stat;
using c10::CachingDeviceAllocator::DeviceStats;

// ---- What is on each stream, and who has waited for whom ------------------------------------------------------------

// How many kernels of each stream are known to be done. A stream knows its own, and those that it waited for.
using Clock = std::map<StreamId, int64_t>;

struct Card {
  Stat bytes;
  int64_t allocations = 0, launches = 0;
  bool lost = false;  // as after an illegal memory access: each further call fails
};
struct Block {
  DeviceIndex card;
  StreamId born;  // only on this stream may its memory be given out again at once
  size_t bytes;
  std::set<StreamId> recorded;  // by record_stream
  Clock used;                   // the last kernel of each stream that used it
  StreamId writer = 0;          // the last kernel that wrote it
  int64_t written = 0;
  bool of_graph = false, overwritten = false;  // a result of a CUDA graph, and one that its next run has written again
};

constexpr int kMostCards = 16;
std::recursive_mutex lock;  // of everything down to `pinned`
int cards_here = 1;
int64_t capacity = int64_t(1) << 30;
Card cards[kMostCards];
std::map<const void*, Block> blocks;
std::map<StreamId, Clock> clocks;
Clock host;  // what the host has waited for; a kernel is launched after it
StreamId last_stream = kMostCards;
int64_t freed_in_use = 0;
std::set<const void*> pinned;

thread_local DeviceIndex current = 0;  // as in CUDA: 0 in a new thread
thread_local StreamId streams[kMostCards] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

using Locked = std::lock_guard<std::recursive_mutex>;

int64_t known(const Clock& clock, StreamId stream) {
  auto found = clock.find(stream);
  return found == clock.end() ? 0 : found->second;
}
void learn(Clock& clock, const Clock& other) {
  for (auto& [stream, count] : other) clock[stream] = std::max(known(clock, stream), count);
}
void host_waits_for(StreamId stream) {
  Locked locked(lock);
  learn(host, clocks[stream]);
}
DeviceIndex index_of(Device device) { return device.has_index() ? device.index() : current; }

void require_context(DeviceIndex card) {
  if (cards[card].lost)
    throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, 700, "CUDA error: an illegal memory access was encountered");
}
Block* block_of(const Tensor& tensor) {
  if (!tensor.defined() || !tensor.is_cuda() || !tensor.has_storage()) return nullptr;
  auto found = blocks.find(tensor.storage().data());
  return found == blocks.end() ? nullptr : &found->second;
}
// Puts a kernel on the current stream of a card.
void launch(DeviceIndex card, const std::string& name, const std::vector<Tensor>& reads, const std::vector<Tensor>& writes) {
  Locked locked(lock);
  require_context(card);
  ++cards[card].launches;
  auto stream = streams[card];
  auto& clock = clocks[stream];
  learn(clock, host);
  auto now = ++clock[stream];
  auto require = [&](StreamId other, int64_t count, const char* what) {
    TORCH_CHECK(known(clock, other) >= count, "wrong-stream use: ", name, " on stream ", stream, " of card ", int(card),
                " uses memory that stream ", other, " still ", what, ", which it has not waited for");
  };
  for (auto& tensor : reads)
    if (auto* block = block_of(tensor)) {
      TORCH_CHECK(!block->overwritten, "accessing tensor output of CUDAGraphs that has been overwritten by a subsequent run (", name, ")");
      require(block->writer, block->written, "writes");
      block->used[stream] = now;
    }
  for (auto& tensor : writes)
    if (auto* block = block_of(tensor)) {
      for (auto& [other, count] : block->used) require(other, count, "uses");
      block->used[stream] = block->written = now;
      block->writer = stream;
    }
}
void mark_written(DeviceIndex card, const std::vector<Tensor>& tensors) {
  Locked locked(lock);
  auto stream = streams[card];
  for (auto& tensor : tensors)
    if (auto* block = block_of(tensor)) {
      block->writer = stream;
      block->used[stream] = block->written = clocks[stream][stream];
    }
}
// A copy between two cards waits for both, and both for it.
void exchange_clocks(DeviceIndex one, DeviceIndex other) {
  Locked locked(lock);
  learn(clocks[streams[one]], clocks[streams[other]]);
  learn(clocks[streams[other]], clocks[streams[one]]);
}

// ---- Memory ---------------------------------------------------------------------------------------------------------

struct CardAllocator final : c10::DeviceAllocator {
  static void free(void* memory) {
    Locked locked(lock);
    auto found = blocks.find(memory);
    if (found == blocks.end()) return;
    auto& block = found->second;
    for (auto& [stream, count] : block.used)
      if (stream != block.born && !block.recorded.count(stream) && known(clocks[block.born], stream) < count && known(host, stream) < count) {
        freed_in_use++;
        break;
      }
    cards[block.card].bytes.decrease(block.bytes);
    blocks.erase(found);
    std::free(memory);
  }
  DataPtr allocate(size_t wanted) override {
    Locked locked(lock);
    auto& card = cards[current];
    require_context(current);
    if (!wanted) return {nullptr, nullptr, &free, Device(kCUDA, current)};
    auto bytes = (wanted + 511) / 512 * 512;
    auto mib = [](double count) { return count / (1 << 20); };
    TORCH_CHECK_WITH(OutOfMemoryError, card.bytes.current + int64_t(bytes) <= capacity, "CUDA out of memory. Tried to allocate ", mib(wanted),
                     " MiB. GPU ", int(current), " has a total capacity of ", mib(capacity), " MiB of which ", mib(capacity - card.bytes.current), " MiB is free.");
    auto* memory = std::malloc(bytes);
    std::memset(memory, 0x7f, bytes);  // as floats 3.4e38: what is read before it is written shows
    card.bytes.increase(bytes);
    card.allocations++;
    blocks.emplace(memory, Block{current, streams[current], bytes});
    return {memory, memory, &free, Device(kCUDA, current)};
  }
  DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t = {0, 0}) override {}
  void recordStream(const DataPtr& memory, Stream stream) override {
    Locked locked(lock);
    if (auto found = blocks.find(memory.get()); found != blocks.end()) found->second.recorded.insert(stream.id());
  }
  DeviceStats getDeviceStats(DeviceIndex card) override {
    Locked locked(lock);
    DeviceStats stats;
    for (auto* of : {&stats.allocated_bytes, &stats.reserved_bytes, &stats.active_bytes, &stats.requested_bytes}) (*of)[0] = cards[card].bytes;
    stats.allocation[0].allocated = stats.num_device_alloc = cards[card].allocations;
    return stats;
  }
  void resetAccumulatedStats(DeviceIndex card) override { cards[card].bytes.reset_accumulated(); }
  void resetPeakStats(DeviceIndex card) override { cards[card].bytes.reset_peak(); }
  std::pair<size_t, size_t> getMemoryInfo(DeviceIndex card) override { return {capacity - cards[card].bytes.current, capacity}; }
};
CardAllocator allocator;

struct PinnedAllocator final : c10::Allocator {
  static void free(void* memory) {
    Locked locked(lock);
    pinned.erase(memory);
    std::free(memory);
  }
  DataPtr allocate(size_t bytes) override {
    Locked locked(lock);
    auto* memory = std::malloc(std::max<size_t>(bytes, 1));
    pinned.insert(memory);
    return {memory, memory, &free, Device(kCPU)};
  }
  DeleterFnPtr raw_deleter() const override { return &free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};
PinnedAllocator pinned_allocator;

// ---- Devices, streams, events and generators ------------------------------------------------------------------------

struct CardGuard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return kCUDA; }
  DeviceIndex deviceCount() const noexcept override { return cards_here; }
  Device getDevice() const override { return {kCUDA, current}; }
  void uncheckedSetDevice(Device device) const noexcept override { current = index_of(device); }
  void setDevice(Device device) const override {
    TORCH_CHECK(index_of(device) < cards_here, "CUDA error: invalid device ordinal");
    current = index_of(device);
  }
  Device exchangeDevice(Device device) const override {
    auto before = getDevice();
    setDevice(device);
    return before;
  }

  static Stream stream(DeviceIndex card, StreamId id) { return Stream(Stream::UNSAFE, Device(kCUDA, card), id); }
  Stream getStream(Device device) const override { return stream(index_of(device), streams[index_of(device)]); }
  Stream getDefaultStream(Device device) const override { return stream(index_of(device), index_of(device)); }
  Stream getStreamFromGlobalPool(Device device, bool) const override { return getNewStream(device, 0); }
  Stream getNewStream(Device device, int) const override {
    Locked locked(lock);
    return stream(index_of(device), last_stream++);
  }
  Stream exchangeStream(Stream next) const override {
    auto before = getStream(next.device());
    streams[next.device_index()] = next.id();
    return before;
  }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream& stream) const override {
    Locked locked(lock);
    require_context(stream.device_index());
    host_waits_for(stream.id());
  }
  void synchronizeDevice(const DeviceIndex card) const override {
    Locked locked(lock);
    require_context(card);
    for (auto& [stream, clock] : clocks) learn(host, clock);
  }
  void recordDataPtrOnStream(const DataPtr& memory, const Stream& stream) const override { allocator.recordStream(memory, stream); }

  // An event is what its stream knew when it was recorded.
  void record(void** event, const Stream& stream, const DeviceIndex, const c10::EventFlag) const override {
    Locked locked(lock);
    if (!*event) *event = new Clock;
    learn(clocks[stream.id()], host);
    *static_cast<Clock*>(*event) = clocks[stream.id()];
  }
  void block(void* event, const Stream& stream) const override {
    Locked locked(lock);
    if (event) learn(clocks[stream.id()], *static_cast<Clock*>(event));
  }
  void synchronizeEvent(void* event) const override {
    Locked locked(lock);
    if (event) learn(host, *static_cast<Clock*>(event));
  }
  bool queryEvent(void*) const override { return true; }
  double elapsedTime(void*, void*, const DeviceIndex) const override { return 0; }
  void destroyEvent(void* event, const DeviceIndex) const noexcept override { delete static_cast<Clock*>(event); }
};
C10_REGISTER_GUARD_IMPL(CUDA, CardGuard)

struct CardGenerator final : c10::GeneratorImpl {
  Generator inner = at::detail::createCPUGenerator();
  explicit CardGenerator(DeviceIndex card) : GeneratorImpl({kCUDA, card}, DispatchKeySet(DispatchKey::CUDA)) {}
  c10::GeneratorImpl* of_host() const { return inner.unsafeGetGeneratorImpl(); }
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  void set_state(const c10::TensorImpl& state) override { of_host()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return of_host()->get_state(); }
  CardGenerator* clone_impl() const override {
    auto* other = new CardGenerator(device().index());
    other->inner = inner.clone();
    return other;
  }
};
Generator default_generators[kMostCards];

}  // namespace

struct CUDAHooks : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return cards_here; }
  int getNumGPUs() const override { return cards_here; }
  DeviceIndex current_device() const override { return current; }
  DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(DeviceIndex card) const override { CardGuard().setDevice({kCUDA, card}); }
  DeviceIndex exchangeDevice(DeviceIndex card) const override { return card < 0 ? current : CardGuard().exchangeDevice({kCUDA, card}).index(); }
  DeviceIndex maybeExchangeDevice(DeviceIndex card) const override { return exchangeDevice(card); }
  Device getDeviceFromPtr(void* memory) const override {
    Locked locked(lock);
    return {kCUDA, blocks.at(memory).card};
  }
  bool isPinnedPtr(const void* memory) const override {
    Locked locked(lock);
    return pinned.count(memory);
  }
  Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator; }
  Allocator* getCUDADeviceAllocator() const override { return &allocator; }
  void deviceSynchronize(DeviceIndex card) const override { CardGuard().synchronizeDevice(card); }
  const Generator& getDefaultGenerator(DeviceIndex card) const override { return default_generators[card < 0 ? current : card]; }
  // The first generator of each card becomes its default one; the Python part makes it.
  Generator getNewGenerator(DeviceIndex card) const override {
    card = card < 0 ? current : card;
    auto made = make_generator<CardGenerator>(card);
    if (!default_generators[card].defined()) default_generators[card] = made;
    return made;
  }
};
using at::CUDAHooksRegistry;
using at::RegistererCUDAHooksRegistry;
REGISTER_CUDA_HOOKS(CUDAHooks)
static int registered = (c10::SetAllocator(kCUDA, &allocator), 0);

// DistributedDataParallel measures with it.
namespace c10d {
struct CardTimer : Timer {
  explicit CardTimer(c10::Device) {}
  std::optional<int64_t> measureDifference(Event, Event) override { return std::nullopt; }
};
C10_REGISTER_TYPED_CLASS(TimerRegistry, c10::kCUDA, CardTimer)
}  // namespace c10d

// What the Python part calls.
extern "C" {
void fake_configure(int count, int64_t bytes) {
  cards_here = count;
  capacity = bytes;
  for (auto& card : cards) card.lost = false;
}
// What a CUDA graph returns lies in memory that is written again when the next one begins.
void fake_graph_returns(const void* memory) {
  Locked locked(lock);
  if (auto found = blocks.find(memory); found != blocks.end()) found->second.of_graph = true;
}
void fake_graph_begins() {
  Locked locked(lock);
  for (auto& [memory, block] : blocks) block.overwritten = block.of_graph;
}
void fake_lose_context(int card) { cards[card].lost = true; }
int64_t fake_allocations(int card) { return cards[card].allocations; }
int64_t fake_launches(int card) { return cards[card].launches; }
int64_t fake_freed_in_use() { return freed_in_use; }
// PyTorch resizes a storage of a GPU only in a build for one.
void fake_resize(c10::StorageImpl* storage, size_t bytes) {
  c10::DeviceGuard guard(storage->device());
  at::native::resize_bytes_cpu(storage, bytes);
}
}
