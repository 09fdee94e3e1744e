// RUN: attnc-opt %s | attnc-opt | filecheck %s

// Infinities and NaN keep their bits; the generic form of xDSL 0.74 loses them.
// CHECK: nn.constant dense<"0x0000807F000080FF0000C07F"> : tensor<3xf32>
%limits = nn.constant dense<"0x0000807F000080FF0000C07F"> : tensor<3xf32>
// CHECK: nn.constant dense<"0x807F"> : tensor<bf16>
%narrow = nn.constant dense<"0x807F"> : tensor<bf16>
// CHECK: nn.constant dense<> : tensor<0x3xf32>
%empty = nn.constant dense<> : tensor<0x3xf32>
// CHECK: nn.constant dense<255> : tensor<ui8>
%unsigned = nn.constant dense<255> : tensor<ui8>
