#include "cai/text/tokenizer.hpp"

#include "cai/text/chat.hpp"
#include "fuzz.hpp"
#include "hostile_text.hpp"

// tokenizer.json, and behind a NUL tokenizer_config.json.
FUZZ_TARGET(tokenizer) {
  using namespace cai;
  const std::size_t cut = data.find('\0');
  fuzz::file_of("tokenizer.json", data.substr(0, cut));
  fuzz::file_of("tokenizer_config.json", cut == data.npos ? "{}" : data.substr(cut + 1));
  fuzz::refuses_or_works([&] {
    const std::shared_ptr<const Tokenizer> tokenizer = load_tokenizer(fuzz::folder() / "tokenizer.json");
    fuzz::text_stays_text(*tokenizer);
    ChatTemplate(tokenizer).encode({{"system", "s"}, {"user", "<|im_end|>"}}, true);
  });
}
