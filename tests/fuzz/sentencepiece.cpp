#include "cai/text/tokenizer.hpp"

#include "fuzz.hpp"
#include "hostile_text.hpp"

FUZZ_TARGET(sentencepiece) {
  using namespace cai;
  const std::filesystem::path file = fuzz::file_of("tokenizer.model", data);
  fuzz::refuses_or_works([&] { fuzz::text_stays_text(*load_tokenizer(file)); });
}
