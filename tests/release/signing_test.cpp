#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "cai/base/error.hpp"
#include "cai/io/file.hpp"
#include "cai/release/model_signature.hpp"
#include "cai/release/policy.hpp"

using namespace cai;
namespace fs = std::filesystem;

namespace {

struct Place {
  fs::path path;
  Place() {
    char name[] = "/tmp/cai-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Place() { fs::remove_all(path); }
};

}  // namespace

TEST(Base64, GoesThereAndBackAndRefusesTheRest) {
  std::mt19937 random(1);
  for (std::size_t size = 0; size < 70; ++size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random());
    EXPECT_EQ(from_base64(to_base64(bytes), "x"), bytes);
  }
  EXPECT_EQ(to_base64("ab"), "YWI=");
  for (const char* text : {"YWI", "YW=I", "Y===", "YWI=\n", "YWJ=", "Y!I=", "YWI=YWI=", " YWI="})
    EXPECT_THROW(from_base64(text, "x"), InputError) << text;
}

TEST(Dsse, SignsTypeAndLengths) {
  EXPECT_EQ(dsse_bytes("a/b", "hello"), "DSSEv1 3 a/b 5 hello");  // the protocol's own form
}

TEST(Keys, AreReadAsTheyWereWritten) {
  const Place place;
  const SigningKey made = make_key(place.path / "k", "phrase");
  const auto give = [](const std::string&) { return std::string("phrase"); };
  const SigningKey read = read_signing_key(place.path / "k.key", give);
  const PublicKey open = read_public_key(place.path / "k.pub");
  EXPECT_EQ(open.hint(), made.public_key().hint());
  EXPECT_TRUE(open.verifies("text", read.sign("text")));
  EXPECT_FALSE(open.verifies("Text", read.sign("text")));
  EXPECT_FALSE(open.verifies("text", ""));
  EXPECT_FALSE(make_key(place.path / "other", "").public_key().verifies("text", read.sign("text")));
  EXPECT_THROW(read_signing_key(place.path / "k.pub", give), InputError);
  EXPECT_THROW(read_public_key(place.path / "k.key"), InputError);
}

TEST(Policy, ChangesAreNamed) {
  const Place place;
  const auto policy = [&](const std::string& text) {
    write_file(place.path / "p.yaml", text);
    return read_policy(place.path / "p.yaml");
  };
  const ReleasePolicy then = policy("conditions: [a.high <= 3%, b <= 1]\napprovals: 2\n");
  const ReleasePolicy now = policy("# stricter\nconditions: [b <= 1, a.high <= 2%]\nauthor_may_not: true\n");
  EXPECT_EQ(policy_changes(then, now),
            (std::vector<std::string>{"new: a.high <= 2%", "new: approvals: 1", "new: author_may_not: true",
                                      "gone: a.high <= 3%", "gone: approvals: 2"}));
  EXPECT_TRUE(policy_changes(then, policy("approvals: 2\nconditions: [b <= 1, a.high <= 3%]")).empty());
}
