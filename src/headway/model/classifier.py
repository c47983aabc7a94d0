"""The self-attention part of the classifier: embeddings → encoder → attention pooling → a linear map to one logit a class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model.encoder import Encoder, SequenceDropout
from headway.params import ModelParams

BIGRAM_MULTIPLIER = 1_000_003
EMBEDDING_SPREAD = 0.1


class AttentionPooling(nn.Module):
    """One vector a text: a weighted mean of its positions for each head, and the plain mean beside them.

    The weights are softmax_t(u_h · x_t) with a learned vector u_h a head (Yang et al. 2016, "Hierarchical Attention
    Networks for Document Classification", without the hidden layer that x goes through there).
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.score = nn.Linear(d_model, n_heads, bias=False)  # a bias would be the same at all positions
        self.d_out = 2 * d_model

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool x, (B, T, d_model), over its real positions; returns (B, 2 · d_model)."""
        B, T, d = x.shape
        weights = self.weights(x, attention_mask)  # (B, T, h)
        heads = x.view(B, T, self.n_heads, d // self.n_heads)
        attended = torch.einsum("bth,bthd->bhd", weights, heads).flatten(1)  # (B, d_model)
        real = attention_mask[:, None, :].to(x.dtype)  # (B, 1, T)
        mean = (real @ x).squeeze(1) / real.sum(dim=2)  # (B, d_model)
        return torch.cat([attended, mean], dim=1)

    def weights(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """How much each head takes of each position, (B, T, h): sums to 1 over the text, and is 0 at padding."""
        score: Tensor = self.score(x).masked_fill(~attention_mask[:, :, None], -torch.inf)  # (B, T, h)
        return score.softmax(dim=1)


class AttentionClassifier(nn.Module):
    """Self-attention text classifier for two or more classes.

    There is one logit a class, two classes included: the sigmoid of a single logit z is the softmax over (0, z), so
    nothing is lost and every class count takes the same path.

    Args:
        params: sizes and regularisation.
        vocabulary_size: token ids run from 0, which is padding, to this number less one.
        n_classes: two or more.
    """

    def __init__(self, params: ModelParams, vocabulary_size: int, n_classes: int) -> None:
        super().__init__()
        self.params = params
        self.embedding = nn.Embedding(vocabulary_size, params.d_model, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_SPREAD)
        if params.bigram_buckets:
            # Zero at the start: pairs add to the tokens' meaning only as far as training finds that they do. Row 0 stands for
            # no pair and stays zero for ever, since it is the padding's.
            self.bigram_embedding = nn.Embedding(1 + params.bigram_buckets, params.d_model, padding_idx=0, sparse=True)
            nn.init.zeros_(self.bigram_embedding.weight)
        self.embedding_dropout = SequenceDropout(params.embedding_dropout)
        self.encoder = Encoder(params)
        self.pooling = AttentionPooling(params.d_model, params.n_heads)
        self.output = nn.Linear(self.pooling.d_out, n_classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Let token embeddings begin with word vectors that were trained elsewhere; the others begin at random, as ever.

        A few labelled texts teach little about words (Kim 2014, "Convolutional Neural Networks for Sentence Classification";
        the vectors: Pennington et al. 2014, "GloVe", and Bojanowski et al. 2017, "Enriching Word Vectors").
        The vectors are centred, made one long, and turned to their principal axes (Turk and Pentland 1991 reduce images so),
        of which the first d_model are kept; then all are scaled to the spread of the random ones.

        Args:
            vectors: float32, (V, n); a row of zeros where a token has none. With n < d_model the last features stay random.
        """
        known = vectors.any(dim=1)
        x = vectors[known].double()
        x = F.normalize(x - x.mean(dim=0))
        axes = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)[:, : self.params.d_model]  # (n, k), the widest first
        x = x @ axes
        self.embedding.weight[known, : axes.shape[1]] = (EMBEDDING_SPREAD * x / x.std()).to(self.embedding.weight.dtype)

    def make_dense(self) -> None:
        """Let the gradient of the pairs' table be a dense tensor, which it is not: a batch touches few of its rows."""
        if self.params.bigram_buckets:
            self.bigram_embedding.sparse = False

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of a padded batch.

        Args:
            tokens: int64, (B, T); 0 is padding, and every row has at least one real token.

        Returns:
            (B, n_classes).
        """
        tokens = clip(tokens, self.params.max_length)
        attention_mask = tokens != 0  # (B, T)
        return self.classify(self.embedding_dropout(self.embed(tokens)), attention_mask)

    def classify(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, (B, n_classes), of embedded texts, (B, T, d_model)."""
        encoded = self.encoder(x, attention_mask)  # (B, T, d_model)
        logits: Tensor = self.output(self.pooling(encoded, attention_mask))
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        """Token embeddings, each plus that of the pair that ends there, (B, T, d_model); before the first token stands 0.

        Pairs share a table by a hash of their two tokens (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification").
        """
        x: Tensor = self.embedding(tokens)
        if self.params.bigram_buckets:
            kept = 1 - self.params.bigram_dropout if self.training else 1.0
            x = x.add(self.bigram_embedding(self._pairs(tokens)), alpha=1 / kept)
        return x

    def _pairs(self, tokens: Tensor) -> Tensor:
        """Row of the pair that ends at each token, (B, T): 0 at padding, and where training drops the pair."""
        before = F.pad(tokens[:, :-1], (1, 0))  # (B, T)
        rows = 1 + torch.remainder(before * BIGRAM_MULTIPLIER + tokens, self.params.bigram_buckets)
        none = tokens == 0
        if self.training and self.params.bigram_dropout:
            none = none | (torch.rand(tokens.shape, device=tokens.device) < self.params.bigram_dropout)
        return rows.masked_fill(none, 0)


def clip(tokens: Tensor, max_length: int) -> Tensor:
    """The first and the last half of ``max_length`` tokens of each longer text, in a padded batch, (B, min(T, max_length))."""
    B, T = tokens.shape
    if max_length >= T:
        return tokens
    lengths = (tokens != 0).sum(dim=1, keepdim=True)  # (B, 1)
    places = torch.arange(max_length, device=tokens.device).expand(B, -1)  # (B, max_length)
    in_tail = (places >= (max_length + 1) // 2) & (lengths > max_length)
    return tokens.gather(1, torch.where(in_tail, places + lengths - max_length, places))
