#include "cai/io/unpack.hpp"

#include <zlib.h>
#include <zstd.h>

#include <vector>

#include "cai/base/error.hpp"

namespace cai {
namespace {

constexpr std::size_t kLargest = std::size_t{4} << 30;  // a few MB can claim to hold terabytes
constexpr std::size_t kPiece = 1 << 17;

void hold_size(const std::string& out, const std::string& file) {
  if (out.size() > kLargest)
    throw InputError(file, 0, "unpacks to more than " + std::to_string(kLargest >> 30) + " GB");
}

struct ZstdStream {
  ZSTD_DStream* stream = ZSTD_createDStream();
  ~ZstdStream() { ZSTD_freeDStream(stream); }
};

std::string unpack_zstd(const std::string& bytes, const std::string& file) {
  const ZstdStream zstd;
  std::string out;
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  std::vector<char> buffer(kPiece);
  std::size_t left = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer piece{buffer.data(), buffer.size(), 0};
    left = ZSTD_decompressStream(zstd.stream, &piece, &in);
    if (ZSTD_isError(left)) break;
    out.append(buffer.data(), piece.pos);
    hold_size(out, file);
  }
  if (left != 0) throw InputError(file, 0, "not a whole zstd file");
  return out;
}

struct GzipStream {
  z_stream stream{};
  GzipStream() { inflateInit2(&stream, 16 + MAX_WBITS); }  // 16: gzip, not zlib
  ~GzipStream() { inflateEnd(&stream); }
};

// One member after the other, as gzip -d reads them.
std::string unpack_gzip(const std::string& bytes, const std::string& file) {
  GzipStream gzip;
  z_stream& z = gzip.stream;
  std::string out;
  std::vector<char> buffer(kPiece);
  std::size_t given = 0;
  int state = Z_OK;
  while (state == Z_OK) {
    if (z.avail_in == 0 && given < bytes.size()) {
      z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data() + given));
      z.avail_in = static_cast<uInt>(std::min(bytes.size() - given, std::size_t{1} << 30));
      given += z.avail_in;
    }
    z.next_out = reinterpret_cast<Bytef*>(buffer.data());
    z.avail_out = kPiece;
    state = inflate(&z, Z_NO_FLUSH);
    out.append(buffer.data(), kPiece - z.avail_out);
    hold_size(out, file);
    const bool is_more = z.avail_in > 0 || given < bytes.size();
    if (state == Z_STREAM_END && is_more) state = inflateReset(&z);
  }
  if (state != Z_STREAM_END) throw InputError(file, 0, "not a whole gzip file");
  return out;
}

}  // namespace

std::string unpack(std::string bytes, const std::string& file) {
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return unpack_zstd(bytes, file);
  if (bytes.starts_with("\x1f\x8b")) return unpack_gzip(bytes, file);
  return bytes;
}

}  // namespace cai
