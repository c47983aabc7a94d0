"""The self-attention part of the classifier: embeddings → encoder → attention pooling → one logit per class.

For a text of tokens t_1 … t_T:

    x_i    = dropout(E[t_i] + E'[hash(t_{i-1}, t_i)])        a token's embedding and that of the bigram ending at it
    y      = encoder(x)                                       see headway.model.encoder
    a_hi   = exp(u_h · y_i) / Σ_j exp(u_h · y_j)              pooling weights of head h; they sum to 1 over the text
    p      = [Σ_i a_1i y_i^(1), …, Σ_i a_hi y_i^(h), mean(y)]  y^(h): the features of head h
    logits = W p + b

Shapes: B texts, T positions, h heads, d = d_model, V tokens in the vocabulary, C classes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headway.model.encoder import Encoder, SequenceDropout
from headway.params import ModelParams

BIGRAM_MULTIPLIER = 1_000_003
#: Bigram embeddings for each token of the vocabulary, if ``bigram_buckets`` is auto, and the most of them.
BIGRAMS_PER_TOKEN, MAX_BIGRAMS = 4, 262_144
EMBEDDING_SPREAD = 0.1


class AttentionPooling(nn.Module):
    """One vector per text: for each head a weighted mean of its features over the positions, and the plain mean of all.

    The weights are softmax_t(u_h · x_t), with a learned vector u_h per head (Yang et al. 2016, "Hierarchical Attention Networks
    for Document Classification", without the hidden layer there).
    """

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.score = nn.Linear(d_model, n_heads, bias=False)  # a bias would be the same at all positions
        self.d_out = 2 * d_model

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool x, (B, T, d), over its tokens, where the mask, (B, T), is True; returns (B, 2d)."""
        B, T, d = x.shape
        weights = self.weights(x, attention_mask)  # (B, T, h)
        heads = x.view(B, T, self.n_heads, d // self.n_heads)
        attended = torch.einsum("bth,bthd->bhd", weights, heads).flatten(1)  # (B, d_model)
        real = attention_mask[:, None, :].to(x.dtype)  # (B, 1, T)
        mean = (real @ x).squeeze(1) / real.sum(dim=2)  # (B, d_model)
        return torch.cat([attended, mean], dim=1)

    def weights(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Weight of each position for each head, (B, T, h); they sum to 1 over the text and are 0 at padding."""
        score: Tensor = self.score(x).masked_fill(~attention_mask[:, :, None], -torch.inf)  # (B, T, h)
        return score.softmax(dim=1)


class AttentionClassifier(nn.Module):
    """Self-attention text classifier for two or more classes.

    There is one logit per class for two classes too: the sigmoid of a single logit z is the softmax over (0, z), so nothing is
    lost, and the code is the same for any number of classes. Token ids are 0, for padding, to V - 1.

    ``params`` has the number of bigram embeddings, also if they were given as ``auto``.
    """

    def __init__(self, params: ModelParams, vocabulary_size: int, n_classes: int) -> None:
        super().__init__()
        self.params = params = resolved(params, vocabulary_size)
        self.bigram_buckets = int(params.bigram_buckets)
        self.embedding = nn.Embedding(vocabulary_size, params.d_model, padding_idx=0)
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_SPREAD)
        if self.bigram_buckets:
            # Zero at the start, so that bigrams contribute only what training finds useful. Row 0 means "no bigram"; it is the
            # padding index, so it stays zero.
            self.bigram_embedding = nn.Embedding(1 + self.bigram_buckets, params.d_model, padding_idx=0, sparse=True)
            nn.init.zeros_(self.bigram_embedding.weight)
        self.embedding_dropout = SequenceDropout(params.embedding_dropout)
        self.encoder = Encoder(params)
        self.pooling = AttentionPooling(params.d_model, params.n_heads)
        self.output = nn.Linear(self.pooling.d_out, n_classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    @torch.no_grad()
    def start_from(self, vectors: Tensor) -> None:
        """Initialise token embeddings from pretrained word vectors.

        Pretrained vectors help where labelled texts are few (Kim 2014, "Convolutional Neural Networks for Sentence
        Classification"; vectors: Pennington et al. 2014, "GloVe"; Bojanowski et al. 2017, "Enriching Word Vectors"). They are
        centred, scaled to length 1, projected onto their first d principal components, and scaled to the standard deviation
        of the random embeddings.

        ``vectors``, float32, (V, n), has a row of zeros for a token without a vector, whose embedding stays random. With n < d
        the last d - n features stay random too.
        """
        known = vectors.any(dim=1)
        x = vectors[known].double()
        x = F.normalize(x - x.mean(dim=0))
        axes = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)[:, : self.params.d_model]  # (n, k), largest variance first
        x = x @ axes
        self.embedding.weight[known, : axes.shape[1]] = (EMBEDDING_SPREAD * x / x.std()).to(self.embedding.weight.dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, (B, C), of padded tokens, int64, (B, T); 0 is padding, and every row has at least one token."""
        tokens = clip(tokens, self.params.max_length)
        attention_mask = tokens != 0  # (B, T)
        return self.classify(self.embedding_dropout(self.embed(tokens)), attention_mask)

    def classify(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits, (B, n_classes), of embedded texts, (B, T, d_model)."""
        encoded = self.encoder(x, attention_mask)  # (B, T, d_model)
        logits: Tensor = self.output(self.pooling(encoded, attention_mask))
        return logits

    def embed(self, tokens: Tensor) -> Tensor:
        """Embeddings of tokens, each plus that of the bigram ending there, (B, T, d); the first token's bigram starts with 0.

        Bigrams share a table by a hash of their tokens (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification").
        """
        x: Tensor = self.embedding(tokens)
        if self.bigram_buckets:
            kept = 1 - self.params.bigram_dropout if self.training else 1.0
            x = x.add(self.bigram_embedding(self._bigrams(tokens)), alpha=1 / kept)
        return x

    def _bigrams(self, tokens: Tensor) -> Tensor:
        """Row of the bigram ending at each token, (B, T); 0 at padding, and where training drops the bigram."""
        before = F.pad(tokens[:, :-1], (1, 0))  # (B, T)
        rows = 1 + torch.remainder(before * BIGRAM_MULTIPLIER + tokens, self.bigram_buckets)
        none = tokens == 0
        if self.training and self.params.bigram_dropout:
            none = none | (torch.rand(tokens.shape, device=tokens.device) < self.params.bigram_dropout)
        return rows.masked_fill(none, 0)


def clip(tokens: Tensor, max_length: int) -> Tensor:
    """Keep the first and the last half of ``max_length`` tokens of each longer text: (B, T) to (B, min(T, max_length))."""
    B, T = tokens.shape
    if max_length >= T:
        return tokens
    lengths = (tokens != 0).sum(dim=1, keepdim=True)  # (B, 1)
    positions = torch.arange(max_length, device=tokens.device).expand(B, -1)  # (B, max_length)
    in_tail = (positions >= (max_length + 1) // 2) & (lengths > max_length)
    return tokens.gather(1, torch.where(in_tail, positions + lengths - max_length, positions))


def resolved(params: ModelParams, vocabulary_size: int) -> ModelParams:
    """The params with the number of bigram embeddings that ``auto`` gives: the power of two nearest to a multiple of V.

    Few texts have few different words and few different pairs of them: a table of fixed size would be almost empty, and the
    optimiser's time is spent on its size.
    """
    if params.bigram_buckets != "auto":
        return params
    buckets = 2 ** round(math.log2(BIGRAMS_PER_TOKEN * vocabulary_size))
    return params.model_copy(update={"bigram_buckets": min(buckets, MAX_BIGRAMS)})
