#include "cai/io/gguf.hpp"

#include "cai/model/config.hpp"
#include "cai/text/tokenizer.hpp"
#include "fuzz.hpp"
#include "hostile_text.hpp"

FUZZ_TARGET(gguf) {
  using namespace cai;
  const std::string file = fuzz::file_of("m.gguf", data).string();
  fuzz::refuses_or_works(
      [&] {
        const GgufFile gguf = read_gguf(file);
        unsigned sum = 0;
        for (const GgufTensor& tensor : gguf.tensors)
          for (const std::byte b : tensor.bytes)
            sum += static_cast<unsigned>(b);
        volatile unsigned kept = sum;
        (void)kept;
        fuzz::refuses_or_works([&] { parse_model_config(gguf, file); }, file);
        fuzz::text_stays_text(*load_tokenizer(file));
      },
      "");
}
