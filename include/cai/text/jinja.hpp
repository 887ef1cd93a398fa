// Chat templates in Jinja, as transformers renders them: trim_blocks, lstrip_blocks, loop controls, the
// filter tojson that escapes no HTML, raise_exception and strftime_now (whose day is fixed, so that runs
// repeat). A template comes with a model from anywhere: what it may spend is limited, it sees no file and
// calls nothing, and of each character that comes out it is known who wrote it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cai/io/json.hpp"
#include "cai/text/tokenizer.hpp"

namespace cai {

namespace jinja {
struct Node;
}

/// What a template may use. The work grows with the conversation; what is below is for an empty one.
struct TemplateLimits {
  std::size_t source_bytes = 1 << 20;
  std::size_t steps = 20'000'000;  // expressions evaluated and bytes written
  std::size_t memory_bytes = 128 << 20;
};

class JinjaTemplate {
 public:
  /// Throws InputError with the line for what is no Jinja, for a statement, filter or test that we do not
  /// have, and for one too long or too deep.
  explicit JinjaTemplate(const std::string& source, const TemplateLimits& limits = {});

  /// Variables by name: messages, add_generation_prompt, bos_token and so on. Texts within "messages" and
  /// "tools" count as typed by a person, but for "role" and "type". Throws InputError for raise_exception, a
  /// limit that is reached, and whatever else goes wrong in the template.
  std::vector<TextPart> render(const Json& variables) const;

 private:
  std::shared_ptr<const jinja::Node> program_;
  TemplateLimits limits_;
};

}  // namespace cai
