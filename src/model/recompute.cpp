#include "cai/model/recompute.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace cai {
namespace {

using Step = std::function<at::Tensor(const at::Tensor&)>;

struct KeptStep : torch::CustomClassHolder {
  explicit KeptStep(Step s) : step(std::move(s)) {}
  Step step;
};

// `learns` is a tensor that requires gradients where something in the step does: autograd sees by it that
// there is something to do.
struct Recomputed : torch::autograd::Function<Recomputed> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& learns, const c10::intrusive_ptr<KeptStep>& kept) {
    context->save_for_backward({x});
    context->saved_data["step"] = c10::IValue::make_capsule(kept);
    return kept->step(x);  // without gradients: a Function's forward has none
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto kept = c10::static_intrusive_pointer_cast<KeptStep>(context->saved_data["step"].toCapsule());
    const at::Tensor x =
        context->get_saved_variables()[0].detach().requires_grad_(context->needs_input_grad(0));
    const at::AutoGradMode with_gradients(true);
    torch::autograd::backward({kept->step(x)}, {gradients[0]});
    return {x.grad(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor recomputed(const Step& step, const at::Tensor& x, bool learns) {
  if (!at::GradMode::is_enabled() || (!learns && !x.requires_grad())) return step(x);
  return Recomputed::apply(x, at::empty({0}, x.options()).requires_grad_(learns),
                           c10::make_intrusive<KeptStep>(step));
}

}  // namespace cai
