// Linked into the tests of model, engine and train. With CAI_TEST_PLAIN=1 they compute on the CPU as a device
// does: by ATen's steps, without the CPU's own code, and in the engine with device_model.
#include <cstdlib>
#include <memory>

#include "cai/model/tensors.hpp"

namespace {
const std::unique_ptr<cai::PlainArithmetic> plain =
    std::getenv("CAI_TEST_PLAIN") ? std::make_unique<cai::PlainArithmetic>() : nullptr;
}
